#include "evaluate/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "kernels/rows.h"
#include "mxq/error.h"
#include "mxq/tokenizer.h"

namespace mxq {

namespace {

constexpr int64_t kLogitRows = 128;  // positions whose logits are in memory at a time

/// Sum of -ln p(ids[i + 1] | ids[0..i]) for i from `first` to the end of the window but one.
double window_loss(Decoder& decoder, std::span<const int32_t> ids, int64_t first) {
  const auto hidden = decoder.hidden(ids);
  const int64_t predictions = static_cast<int64_t>(ids.size()) - 1, vocab = decoder.vocab_size();
  std::vector<float> logits(static_cast<size_t>(std::min(kLogitRows, predictions) * vocab));
  std::vector<double> losses(static_cast<size_t>(predictions), 0.0);
  for (int64_t begin = first; begin < predictions; begin += kLogitRows) {
    const int64_t rows = std::min(kLogitRows, predictions - begin);
    decoder.logits(hidden.data() + begin * decoder.hidden_size(), rows, logits.data());
    parallel_for(rows, [&](int64_t r) {
      const float* row = logits.data() + r * vocab;
      losses[static_cast<size_t>(begin + r)] =
          static_cast<double>(log_sum_exp(row, vocab)) - row[ids[static_cast<size_t>(begin + r + 1)]];
    });
  }
  double sum = 0;
  for (const double loss : losses) sum += loss;
  return sum;
}

}  // namespace

Perplexity perplexity_of(Decoder& decoder, std::span<const int32_t> ids, const PerplexityOptions& options,
                         Progress& progress) {
  if (options.window < 2 || options.stride < 1 || options.stride > options.window) {
    throw Error(ErrorCode::usage, "measure perplexity",
                fmt::format("windows of {} tokens, stride {}", options.window, options.stride),
                "windows of at least 2 tokens and a stride from 1 to the window");
  }
  const auto total = static_cast<int64_t>(ids.size());
  if (total < 2) {
    throw Error(ErrorCode::usage, "measure perplexity", fmt::format("a text of {} tokens", total), "at least 2 tokens");
  }
  const auto started = std::chrono::steady_clock::now();
  Perplexity result;
  double sum = 0;
  int64_t previous_end = 0, processed = 0;
  progress.begin("evaluate", total);
  for (int64_t begin = 0; previous_end < total; begin += options.stride) {
    const int64_t end = std::min(begin + options.window, total);
    const int64_t fresh = end - previous_end;  // tokens that no window before had
    // The first token of all has nothing before it to be predicted from.
    const int64_t first = std::max<int64_t>(0, previous_end - begin - 1);
    const int64_t predictions = end - begin - 1 - first;
    const auto window = ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    if (predictions > 0) {
      sum += window_loss(decoder, window, first) / static_cast<double>(predictions) * static_cast<double>(fresh);
    }
    previous_end = end;
    processed += end - begin;
    ++result.windows;
    progress.update(end);
  }
  progress.end();
  result.tokens = previous_end;
  result.nll = sum / static_cast<double>(previous_end);
  result.perplexity = std::exp(result.nll);
  if (!std::isfinite(result.perplexity)) {
    throw Error(ErrorCode::not_finite, "measure perplexity", fmt::format("perplexity {}", result.perplexity));
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  result.tokens_per_second = static_cast<double>(processed) / result.seconds;
  return result;
}

Perplexity measure_perplexity(const std::filesystem::path& path, const std::string& text,
                              const PerplexityOptions& options, Progress* progress) {
  const auto model = open_model(path);
  const auto tokenizer = open_tokenizer(path);
  const int64_t vocabulary = model->config() ? model->config()->vocab_size : 0;
  if (tokenizer->vocab_size() > vocabulary) {
    throw Error(ErrorCode::invalid_file, "measure perplexity",
                fmt::format("the tokenizer knows {} tokens, the model {}", tokenizer->vocab_size(), vocabulary),
                "the model's own tokenizer");
  }
  std::vector<int32_t> ids = tokenizer->encode(text);
  if (options.max_tokens > 0 && static_cast<int64_t>(ids.size()) > options.max_tokens) {
    ids.resize(static_cast<size_t>(options.max_tokens));
  }
  Decoder decoder(*model, options.run);
  Perplexity result = perplexity_of(decoder, ids, options, or_silent(progress));
  for (const auto& tensor : model->tensors()) result.weight_bytes += model->stored_bytes(tensor);
  return result;
}

}  // namespace mxq
