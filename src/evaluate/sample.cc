#include "evaluate/sample.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iterator>
#include <memory>
#include <numeric>
#include <set>

#include "base/parallel.h"
#include "kernels/rows.h"
#include "mxq/error.h"

namespace mxq {

namespace {

std::mt19937_64 seeded(uint64_t seed, uint64_t stream) {
  const auto low = [](uint64_t x) { return static_cast<uint32_t>(x); };
  std::seed_seq words{low(seed), low(seed >> 32), low(stream), low(stream >> 32)};
  return std::mt19937_64(words);
}

/// Those of the last token of each sequence.
std::vector<float> last_states(std::vector<float> hidden, std::span<const Sequence> sequences, int64_t width) {
  int64_t end = 0, kept = 0;
  for (const Sequence& sequence : sequences) {
    end += static_cast<int64_t>(sequence.ids.size());
    std::copy_n(hidden.begin() + (end - 1) * width, width, hidden.begin() + width * kept++);
  }
  return hidden;
}

/// Of keys and values of sequences that are sampled together.
constexpr int64_t kCacheBytes = int64_t{1} << 30;

[[noreturn]] void refuse(std::string given, std::string supported) {
  throw Error(ErrorCode::usage, "sample text", std::move(given), std::move(supported));
}

}  // namespace

Sampler::Sampler(const Sampling& sampling, uint64_t stream)
    : sampling_(sampling), random_(seeded(sampling.seed, stream)) {
  if (!(sampling.temperature >= 0 && std::isfinite(sampling.temperature))) {
    refuse(fmt::format("temperature {}", sampling.temperature), "0 and above");
  }
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) {
    refuse(fmt::format("top-p {}", sampling.top_p), "above 0, up to 1");
  }
}

double uniform(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1p-53;
}

int32_t Sampler::pick(float* logits, int64_t n) {
  // Hidden states are checked by the runner, so only the output matrix can do this.
  if (!std::isfinite(log_sum_exp(logits, n))) {
    throw Error(ErrorCode::not_finite, "sample text", "the output matrix gives NaN or infinity");
  }
  if (sampling_.temperature == 0) return static_cast<int32_t>(std::max_element(logits, logits + n) - logits);
  softmax(logits, static_cast<float>(1 / sampling_.temperature), n);
  const float* p = logits;
  if (sampling_.top_p == 1) {
    double left = uniform(random_) * std::accumulate(p, p + n, 0.0);
    for (int64_t i = 0; i < n; ++i) {
      left -= p[i];
      if (left < 0) return static_cast<int32_t>(i);
    }
    return static_cast<int32_t>(std::max_element(p, p + n) - p);  // rounding; as good as never
  }
  // The likeliest that reach top_p are all among these: the others together hold less than what may be left out.
  const double least = (1 - sampling_.top_p) / (2.0 * static_cast<double>(n));
  order_.clear();
  for (int64_t i = 0; i < n; ++i) {
    if (p[i] >= least) order_.push_back(static_cast<int32_t>(i));
  }
  const auto likelier = [p](int32_t a, int32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; };
  // Mostly a few tokens hold the probability: more are sorted only where the ones so far do not.
  double sum = 0;
  size_t sorted = 0, kept = 0;
  while (kept < order_.size() && sum < sampling_.top_p) {
    if (kept == sorted) {
      const size_t next = std::min(order_.size(), std::max<size_t>(64, 4 * sorted));
      const auto begin = order_.begin() + static_cast<std::ptrdiff_t>(sorted);
      std::partial_sort(begin, order_.begin() + static_cast<std::ptrdiff_t>(next), order_.end(), likelier);
      sorted = next;
    }
    sum += p[order_[kept++]];
  }
  double left = uniform(random_) * sum;
  for (size_t i = 0; i < kept; ++i) {
    left -= p[order_[i]];
    if (left < 0) return order_[i];
  }
  return order_.front();
}

namespace {

/// Appends `tokens` tokens to each sequence, a token of all at a time. `told` hears of how many so far.
void continue_sequences(Runner& runner, std::span<std::vector<int32_t>> sequences, std::span<Sampler> samplers,
                        int64_t tokens, const std::function<void(int64_t)>& told) {
  const auto count = static_cast<int64_t>(sequences.size());
  const int64_t vocab = runner.vocab_size();
  std::vector<std::unique_ptr<KvCache>> caches;
  for (size_t i = 0; i < sequences.size(); ++i) caches.push_back(runner.make_cache());
  std::vector<float> logits(sequences.size() * static_cast<size_t>(vocab));
  for (int64_t step = 0; step < tokens; ++step) {
    std::vector<Sequence> next;
    for (size_t i = 0; i < sequences.size(); ++i) {
      next.push_back({std::span(sequences[i]).subspan(static_cast<size_t>(caches[i]->length())), caches[i].get()});
    }
    const auto hidden = last_states(runner.hidden(next), next, runner.hidden_size());
    runner.logits(hidden.data(), count, logits.data());
    parallel_for(count, [&](int64_t i) {
      const auto at = static_cast<size_t>(i);
      sequences[at].push_back(samplers[at].pick(logits.data() + i * vocab, vocab));
    });
    told((step + 1) * count);
  }
}

}  // namespace

std::vector<std::vector<int32_t>> end_token_prompts(const TokenFacts& tokens) {
  std::vector<std::vector<int32_t>> prompts;
  if (tokens.bos) prompts.push_back({*tokens.bos});
  if (tokens.eos && tokens.eos != tokens.bos) prompts.push_back({*tokens.eos});
  if (prompts.empty()) {
    throw Error(ErrorCode::unsupported, "sample text", "neither tokenizer nor config names a BOS or EOS token",
                "one to begin with");
  }
  return prompts;
}

std::vector<std::vector<int32_t>> random_prompts(const TokenFacts& tokens, const SelfText& text) {
  if (tokens.count < 1) refuse("a tokenizer without tokens", "at least one");
  constexpr uint64_t kStream = uint64_t{1} << 32;  // none of the samplers'
  auto random = seeded(text.sampling.seed, kStream);
  std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(std::max<int64_t>(0, text.sequences)));
  for (auto& prompt : prompts) {
    if (tokens.adds_bos && tokens.bos) prompt.push_back(*tokens.bos);
    prompt.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(tokens.count)));
  }
  return prompts;
}

bool is_degenerate(std::span<const int32_t> ids) {
  constexpr size_t kRun = 4, kFewest = 32;
  if (ids.size() < kRun - 1 + kFewest) return false;
  std::set<std::array<int32_t, kRun>> distinct;
  const size_t runs = ids.size() - kRun + 1;
  for (size_t i = 0; i < runs; ++i) distinct.insert({ids[i], ids[i + 1], ids[i + 2], ids[i + 3]});
  return 2 * distinct.size() < runs;
}

std::string describe(const SelfText& text) {
  return fmt::format("{} {} {} {} {} {}", text.sequences, text.tokens, text.sampling.temperature, text.sampling.top_p,
                     fmt::join(text.first_top_p, ","), text.sampling.seed);
}

std::vector<std::vector<int32_t>> sample_sequences(Runner& runner, const std::vector<std::vector<int32_t>>& prompts,
                                                   const SelfText& text, Progress& progress) {
  if (text.sequences < 1 || text.tokens < 1) {
    refuse(fmt::format("{} sequences of {} tokens", text.sequences, text.tokens), "at least 1 of each");
  }
  std::vector<std::vector<int32_t>> all;
  std::vector<Sampler> samplers;
  int64_t longest = 0;
  for (int64_t i = 0; i < text.sequences; ++i) {
    const auto at = static_cast<size_t>(i);
    all.push_back(prompts[at % prompts.size()]);
    longest = std::max(longest, std::ssize(all.back()) + text.tokens);
    Sampling sampling = text.sampling;
    if (at < text.first_top_p.size()) sampling.top_p = text.first_top_p[at];
    samplers.emplace_back(sampling, at);
  }
  const int64_t together = std::max<int64_t>(1, kCacheBytes / runner.cache_bytes(longest));
  progress.begin("sample", text.sequences * text.tokens);
  for (int64_t first = 0; first < text.sequences; first += together) {
    const int64_t count = std::min(together, text.sequences - first);
    const auto begin = static_cast<size_t>(first), n = static_cast<size_t>(count);
    continue_sequences(runner, std::span(all).subspan(begin, n), std::span(samplers).subspan(begin, n), text.tokens,
                       [&](int64_t tokens) { progress.update(first * text.tokens + tokens); });
  }
  progress.end();
  return all;
}

}  // namespace mxq
