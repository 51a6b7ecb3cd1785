#include "evaluate/score.h"

#include <algorithm>

namespace mxq {

namespace {

constexpr int64_t kMinLogitRows = 32;

/// Rows of the hidden states that count, and the tokens they should predict.
struct Scored {
  std::vector<int64_t> rows;
  std::vector<int32_t> targets;
};

Scored scored_rows(std::span<const Window> batch) {
  Scored scored;
  int64_t row = 0;
  for (const Window& window : batch) {
    const auto length = static_cast<int64_t>(window.ids.size());
    for (int64_t i = window.first; i + 1 < length; ++i) {
      scored.rows.push_back(row + i);
      scored.targets.push_back(window.ids[static_cast<size_t>(i + 1)]);
    }
    row += length;
  }
  return scored;
}

/// The hidden states of `rows` (ascending), moved to the front.
std::vector<float> hidden_rows(Runner& runner, std::span<const Sequence> sequences, std::span<const int64_t> rows) {
  auto hidden = runner.hidden(sequences);
  const int64_t width = runner.hidden_size();
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto to = static_cast<int64_t>(i);
    if (rows[i] != to) std::copy_n(hidden.data() + rows[i] * width, width, hidden.data() + to * width);
  }
  return hidden;
}

}  // namespace

void run_windows(std::span<Runner* const> runners, std::span<const Window> windows, int64_t batch_tokens,
                 Progress& progress, const std::function<void(const LogitBlock&)>& use) {
  const int64_t vocab = runners.front()->vocab_size();
  const int64_t block = std::max(kMinLogitRows, logit_rows(vocab));
  std::vector<std::vector<float>> logits(runners.size());
  int64_t first = 0, done = 0;
  progress.begin("evaluate", window_tokens(windows));
  for (size_t begin = 0; begin < windows.size();) {
    size_t end = begin;
    std::vector<Sequence> sequences;
    for (int64_t tokens = 0; end < windows.size(); ++end) {
      tokens += static_cast<int64_t>(windows[end].ids.size());
      if (end > begin && tokens > batch_tokens) break;
      sequences.push_back({windows[end].ids});
    }
    const auto batch = windows.subspan(begin, end - begin);
    const Scored scored = scored_rows(batch);
    const auto count = static_cast<int64_t>(scored.rows.size());
    std::vector<std::vector<float>> hidden;
    for (Runner* runner : runners) hidden.push_back(hidden_rows(*runner, sequences, scored.rows));
    for (int64_t from = 0; from < count; from += block) {
      const int64_t rows = std::min(block, count - from);
      LogitBlock out{
          first + from, std::span(scored.targets).subspan(static_cast<size_t>(from), static_cast<size_t>(rows)), {}};
      for (size_t i = 0; i < runners.size(); ++i) {
        logits[i].resize(static_cast<size_t>(std::min(block, count) * vocab));
        runners[i]->logits(hidden[i].data() + from * runners[i]->hidden_size(), rows, logits[i].data());
        out.logits.push_back(logits[i].data());
      }
      use(out);
    }
    first += count;
    done += window_tokens(batch);
    progress.update(done);
    begin = end;
  }
  progress.end();
}

int64_t logit_rows(int64_t vocab) {
  return std::max<int64_t>(1, (int64_t{16} << 20) / (vocab * static_cast<int64_t>(sizeof(float))));
}

std::vector<double> prediction_weights(std::span<const Window> windows) {
  std::vector<double> weights;
  for (const Window& window : windows) {
    const int64_t n = window.predictions();
    weights.insert(weights.end(), static_cast<size_t>(n), window.weight / static_cast<double>(n));
  }
  return weights;
}

int64_t window_tokens(std::span<const Window> windows) {
  int64_t tokens = 0;
  for (const Window& window : windows) tokens += static_cast<int64_t>(window.ids.size());
  return tokens;
}

int64_t batch_of(const PerplexityOptions& options) {
  return options.batch_tokens > 0 ? options.batch_tokens : kDefaultBatch;
}

}  // namespace mxq
