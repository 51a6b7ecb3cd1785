#include "mxq/generate.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/stopwatch.h"
#include "evaluate/sample.h"
#include "model/decoder/decoder.h"
#include "model/model_tokenizer.h"
#include "mxq/error.h"

namespace mxq {

namespace {

/// All tokens that end a text: chat models have several.
std::vector<int64_t> end_tokens(const ModelSource& model, const Tokenizer& tokenizer) {
  std::vector<int64_t> ends = model.config() ? model.config()->eos_token_ids : std::vector<int64_t>();
  if (tokenizer.eos()) ends.push_back(*tokenizer.eos());
  return ends;
}

/// The text of ids that come one by one, in whole characters.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, const std::vector<int32_t>& prompt)
      : tokenizer_(tokenizer), ids_(prompt), sent_(tokenizer.decode(prompt).size()) {}

  /// What the token adds to the text; nothing while a character is cut, for a character has up to four bytes.
  std::string add(int32_t id) {
    ids_.push_back(id);
    return take(false);
  }
  /// What is left, whatever it is.
  std::string finish() { return take(true); }

 private:
  std::string take(bool all) {
    // Decoded as a whole: what a token's text is may depend on the one before (the blank of SentencePiece).
    const std::string text = tokenizer_.decode(ids_);
    size_t end = text.size();
    for (size_t back = 1; !all && back <= std::min<size_t>(3, text.size()); ++back) {
      const auto byte = static_cast<unsigned char>(text[text.size() - back]);
      if ((byte & 0xC0) == 0x80) continue;  // in the middle of a character
      const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
      if (length > back) end = text.size() - back;
      break;
    }
    if (end <= sent_) return {};
    const size_t from = std::exchange(sent_, end);
    return text.substr(from, end - from);
  }

  const Tokenizer& tokenizer_;
  std::vector<int32_t> ids_;
  size_t sent_;
};

}  // namespace

Generation generate(const std::filesystem::path& path, const std::string& prompt, const GenerateOptions& options,
                    const std::function<void(std::string_view)>& on_text, Progress* progress_or_null) {
  if (options.max_tokens < 1) {
    throw Error(ErrorCode::usage, "generate text", fmt::format("{} tokens", options.max_tokens), "at least 1");
  }
  Sampler sampler(options.sampling, 0);
  const auto model = open_model(path);
  const auto tokenizer = open_model_tokenizer(*model);
  std::vector<int32_t> ids = tokenizer->encode(prompt, {.add_eos = false});  // the text goes on
  if (ids.empty()) ids = end_token_prompts(token_facts(*model)).front();
  const auto ends = end_tokens(*model, *tokenizer);
  Progress& progress = or_silent(progress_or_null);
  progress.begin("load", 1);
  Decoder decoder(*model, options.run);
  progress.end();

  Generation result;
  result.prompt_tokens = static_cast<int64_t>(ids.size());
  TextStream stream(*tokenizer, ids);
  const auto send = [&](const std::string& text) {
    result.text += text;
    if (on_text && !text.empty()) on_text(text);
  };
  KvCache cache;
  std::vector<float> logits(static_cast<size_t>(decoder.vocab_size()));
  std::span<const int32_t> next = ids;
  Stopwatch watch;
  while (true) {
    const Sequence sequence{next, &cache};
    const auto hidden = decoder.hidden(std::span(&sequence, 1));
    decoder.logits(hidden.data() + (next.size() - 1) * static_cast<size_t>(decoder.hidden_size()), 1, logits.data());
    if (result.ids.empty()) {
      result.prompt_seconds = watch.seconds();
      watch.restart();
    }
    result.ids.push_back(sampler.pick(logits.data(), decoder.vocab_size()));
    result.ended = std::find(ends.begin(), ends.end(), result.ids.back()) != ends.end();
    if (result.ended) break;
    send(stream.add(result.ids.back()));
    if (static_cast<int64_t>(result.ids.size()) == options.max_tokens) break;
    next = std::span(result.ids).last(1);
  }
  send(stream.finish());
  result.seconds = watch.seconds();
  return result;
}

}  // namespace mxq
