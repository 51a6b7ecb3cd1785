// Text to token ids and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mxq/progress.h"

namespace mxq {

struct EncodeOptions {
  /// Begin with the BOS token if the model wants that: see adds_bos().
  bool add_bos = true;
  /// End with the EOS token if the tokenizer puts one behind each text; few do.
  bool add_eos = true;
  /// Special tokens such as "<|im_end|>" that the text spells out become their one id; false: they are plain text.
  /// Tokens that a model's makers added without calling them special always become their one id.
  /// (A tokenizer_config.json with split_special_tokens makes them plain text in any case.)
  bool parse_special = true;
  /// Told of the phase "tokenize" in bytes; null: nobody.
  Progress* progress = nullptr;
};

/// A model's tokenizer. All functions are thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// The ids that the model was trained on for this text, which must be UTF-8. An empty text gives no ids, or BOS
  /// alone. A character that the vocabulary cannot express gives the unknown token, or nothing if there is none, as
  /// elsewhere. Where the model wants Unicode's normal form NFC, the text is brought into it first.
  /// Throws Error(invalid_file) naming the byte where the text is not UTF-8, Error(unsupported) for a text of 1 GiB or
  /// more, or one that the tokenizer's regular expression gives up on.
  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;

  /// The text of the ids, special tokens spelt out. Not UTF-8 where the ids cut a character into bytes.
  /// Throws Error(usage) for an id outside the vocabulary.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;

  /// Ids are 0 to vocab_size() - 1; some may have no token, and decode to nothing.
  virtual int32_t vocab_size() const = 0;
  virtual std::optional<int32_t> bos() const = 0;
  virtual std::optional<int32_t> eos() const = 0;
  /// The model expects texts to begin with BOS.
  virtual bool adds_bos() const = 0;
  /// What a user should know: that its file leaves something open, which a default decides. Empty: nothing.
  virtual std::string remark() const = 0;

 protected:
  Tokenizer() = default;
};

/// The tokenizer of a folder with tokenizer.json (Hugging Face's, an mxq checkpoint), of a .gguf file, also one without
/// tensors, of a folder with one .gguf, of a file of torch.save with a tokenizer.json beside it, or of a tokenizer.json
/// itself. Byte-level BPE (GPT-2, Llama 3, SmolLM, Qwen2)
/// and SentencePiece's BPE with byte fallback (Llama 2, Mistral). The files beside a tokenizer.json count as they do
/// for the AutoTokenizer of transformers 4.57: tokenizer_config.json, special_tokens_map.json, added_tokens.json, and
/// config.json where the class of the tokenizer is named nowhere else. Throws Error(not_found), Error(invalid_file) for
/// files that contradict themselves, Error(unsupported) naming the part for other tokenizers.
std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& model);

}  // namespace mxq
