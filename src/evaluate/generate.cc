#include "mxq/generate.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/stopwatch.h"
#include "evaluate/sample.h"
#include "model/model_state.h"
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

/// So many tokens of a prompt at a time: activations take little memory, and progress is seen.
constexpr size_t kPromptPiece = 512;

/// Puts a prompt into the cache but for its last piece, which is returned.
std::span<const int32_t> read_ahead(Runner& runner, std::span<const int32_t> ids, KvCache& cache, Progress& progress) {
  progress.begin("prompt", static_cast<int64_t>(ids.size()));
  while (ids.size() > kPromptPiece) {
    const Sequence sequence{ids.first(kPromptPiece), &cache};
    runner.hidden(std::span(&sequence, 1));
    ids = ids.subspan(kPromptPiece);
    progress.update(cache.length());
  }
  progress.end();
  return ids;
}

}  // namespace

Generation generate(const Model& model, const std::string& prompt, const GenerateOptions& options,
                    const std::function<void(std::string_view)>& on_text, Progress* progress_or_null) {
  if (options.max_tokens < 1) {
    throw Error(ErrorCode::usage, "generate text", fmt::format("{} tokens", options.max_tokens), "at least 1");
  }
  Sampler sampler(options.sampling, 0);
  const ModelSource& source = model.state().source();
  const Tokenizer& tokenizer = model.state().tokenizer();
  std::vector<int32_t> ids = tokenizer.encode(prompt, {.add_eos = false});  // the text goes on
  if (ids.empty()) ids = end_token_prompts(model.state().token_facts()).front();
  const auto ends = end_tokens(source, tokenizer);
  Progress& progress = or_silent(progress_or_null);
  Runner& runner = model.state().runner(options.run, progress);

  Generation result;
  result.prompt_tokens = static_cast<int64_t>(ids.size());
  TextStream stream(tokenizer, ids);
  const auto send = [&](const std::string& text) {
    result.text += text;
    if (on_text && !text.empty()) on_text(text);
  };
  const auto cache = runner.make_cache();
  std::vector<float> logits(static_cast<size_t>(runner.vocab_size()));
  const int64_t words =
      std::min<int64_t>(runner.vocab_size(), tokenizer.vocab_size());  // rows behind stand for no text
  Stopwatch watch;
  std::span<const int32_t> next = read_ahead(runner, ids, *cache, progress);
  while (true) {
    const Sequence sequence{next, cache.get()};
    const auto hidden = runner.hidden(std::span(&sequence, 1));
    runner.logits(hidden.data() + (next.size() - 1) * static_cast<size_t>(runner.hidden_size()), 1, logits.data());
    if (result.ids.empty()) {
      result.prompt_seconds = watch.seconds();
      watch.restart();
    }
    result.ids.push_back(sampler.pick(logits.data(), words));
    result.ended = std::find(ends.begin(), ends.end(), result.ids.back()) != ends.end();
    if (result.ended) {
      result.has_chat_template = has_chat_template(model.state().source());
      break;
    }
    send(stream.add(result.ids.back()));
    if (static_cast<int64_t>(result.ids.size()) == options.max_tokens) break;
    next = std::span(result.ids).last(1);
  }
  send(stream.finish());
  result.seconds = watch.seconds();
  return result;
}

}  // namespace mxq
