// A model's own tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "model/model_source.h"
#include "mxq/tokenizer.h"

namespace mxq {

/// As open_tokenizer(). Tokenizers may know more tokens than the model has rows: encode() throws Error(unsupported)
/// naming the token where a text has one of those. (Fewer are common: embeddings are padded.)
std::unique_ptr<Tokenizer> open_model_tokenizer(const ModelSource& model);

/// What can be done without a text: the ids that texts of a model begin and end with.
struct TokenFacts {
  std::optional<int32_t> bos, eos;  // as the tokenizer names them, else the model's configuration
  bool adds_bos = false;            // texts begin with BOS; without a tokenizer: if there is one
  int64_t count = 0;                // tokens that the model and its tokenizer know: ids 0 to count - 1
  std::string note;                 // that, and why, the tokenizer cannot be had; empty: it can
};
/// `tokenizer`: as open_model_tokenizer(); null where it cannot be had, for `reason`.
TokenFacts token_facts(const ModelSource& model, const Tokenizer* tokenizer, std::string_view reason = {});

/// Whether the model's files bring a template for chats.
bool has_chat_template(const ModelSource& model);

/// Rows of the embedding as the config says; 0 without one.
int64_t vocabulary(const ModelSource& model);

}  // namespace mxq
