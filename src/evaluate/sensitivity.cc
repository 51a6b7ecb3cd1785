#include "evaluate/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "base/parallel.h"
#include "evaluate/score.h"
#include "kernels/rows.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr int64_t kBatchBytes = int64_t{256} << 20;  // of the activations of probes that run together

/// While it lives, the decoder has the probe's weights.
class Replaced {
 public:
  Replaced(Decoder& decoder, const Probe& probe)
      : matrix_(*decoder.find_matrix(probe.matrix)),
        other_(probe.matrix == kEmbedding ? matrix_.with_rows(probe.weights())
                                          : matrix_.with_weights(probe.weights().data())) {
    std::swap(matrix_, other_);
  }
  ~Replaced() { std::swap(matrix_, other_); }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;

 private:
  Linear& matrix_;
  Linear other_;
};

class Prober {
 public:
  Prober(Decoder& decoder, std::span<const std::vector<int32_t>> sequences) : decoder_(decoder) {
    for (const auto& ids : sequences) {
      sequences_.push_back({ids});
      tokens_ += static_cast<int64_t>(ids.size());
    }
    residual_ = decoder_.embed(sequences_);
    auto last = residual_;
    decoder_.run_layers(sequences_, 0, decoder_.layers(), last);
    const auto hidden = decoder_.last_norm(sequences_, last);
    logits_.resize(static_cast<size_t>(tokens_ * decoder_.vocab_size()));
    decoder_.logits(hidden.data(), tokens_, logits_.data());
  }

  /// Of a probe outside the layers.
  double whole(const Probe& probe) {
    const Replaced replaced(decoder_, probe);
    double kl = std::numeric_limits<double>::quiet_NaN();
    if_finite([&] {
      auto residual = decoder_.embed(sequences_);
      decoder_.run_layers(sequences_, 0, decoder_.layers(), residual);
      kl = divergence(decoder_.last_norm(sequences_, residual).data());
    });
    return kl;
  }

  /// Of the probes of one layer; layers ascend.
  std::vector<double> layer(int64_t index, std::span<const Probe* const> probes) {
    decoder_.run_layers(sequences_, at_, index, residual_);
    at_ = index;
    // Residual stream, norm, gate, up and the four of attention.
    const int64_t bytes = tokens_ * 8 * decoder_.hidden_size() * static_cast<int64_t>(sizeof(float));
    const auto together = static_cast<size_t>(std::max<int64_t>(1, kBatchBytes / bytes));
    std::vector<double> kl;
    for (size_t begin = 0; begin < probes.size(); begin += together) {
      const auto batch = probes.subspan(begin, std::min(together, probes.size() - begin));
      for (const double value : run(index, batch)) kl.push_back(value);
    }
    return kl;
  }

 private:
  /// Whether the model gave numbers all the way.
  template <typename Run>
  static bool if_finite(Run run) {
    try {
      run();
      return true;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_finite) throw;
      return false;
    }
  }

  std::vector<double> run(int64_t index, std::span<const Probe* const> probes) {
    std::vector<double> kl(probes.size(), std::numeric_limits<double>::quiet_NaN());
    std::vector<size_t> alive;
    std::vector<float> all;
    for (size_t i = 0; i < probes.size(); ++i) {
      // Outside of what may fail: weights that cannot be made are no property of the probe.
      const Replaced replaced(decoder_, *probes[i]);
      auto residual = residual_;
      if (!if_finite([&] { decoder_.run_layers(sequences_, index, index + 1, residual); })) continue;
      all.insert(all.end(), residual.begin(), residual.end());
      alive.push_back(i);
    }
    if (alive.empty()) return kl;
    std::vector<Sequence> copies;
    for (size_t i = 0; i < alive.size(); ++i) copies.insert(copies.end(), sequences_.begin(), sequences_.end());
    std::vector<float> hidden;
    const bool finite = if_finite([&] {
      decoder_.run_layers(copies, index + 1, decoder_.layers(), all);
      hidden = decoder_.last_norm(copies, all);
    });
    if (!finite) {
      if (probes.size() == 1) return kl;
      // One of them; by themselves it shows which.
      for (size_t i = 0; i < probes.size(); ++i) kl[i] = run(index, probes.subspan(i, 1)).front();
      return kl;
    }
    const auto width = static_cast<size_t>(tokens_ * decoder_.hidden_size());
    for (size_t i = 0; i < alive.size(); ++i) kl[alive[i]] = divergence(hidden.data() + i * width);
    return kl;
  }

  double divergence(const float* hidden) {
    const int64_t vocab = decoder_.vocab_size();
    const int64_t block = std::min(logit_rows(vocab), tokens_);
    std::vector<float> logits(static_cast<size_t>(block * vocab));
    std::vector<double> kl(static_cast<size_t>(tokens_));
    for (int64_t first = 0; first < tokens_; first += block) {
      const int64_t rows = std::min(block, tokens_ - first);
      decoder_.logits(hidden + first * decoder_.hidden_size(), rows, logits.data());
      parallel_for(rows, [&](int64_t r) {
        kl[static_cast<size_t>(first + r)] =
            row_divergence(logits_.data() + (first + r) * vocab, logits.data() + r * vocab, vocab).kl;
      });
    }
    double sum = 0;
    for (const double value : kl) sum += value;
    return sum / static_cast<double>(tokens_);
  }

  Decoder& decoder_;
  std::vector<Sequence> sequences_;
  int64_t tokens_ = 0;
  std::vector<float> residual_;  // as it enters layer at_
  int64_t at_ = 0;
  std::vector<float> logits_;
};

}  // namespace

std::vector<double> probe_divergences(Decoder& decoder, std::span<const std::vector<int32_t>> sequences,
                                      std::span<const Probe> probes, Progress& progress,
                                      const std::function<void(size_t probe, double kl)>& done) {
  std::map<int64_t, std::vector<size_t>> layers;
  for (size_t i = 0; i < probes.size(); ++i) {
    if (decoder.find_matrix(probes[i].matrix) == nullptr) {
      throw Error(ErrorCode::usage, "measure sensitivity", fmt::format("matrix '{}'", probes[i].matrix),
                  "the matrices of the decoder");
    }
    const auto layer = parse_int(parse_matrix_name(probes[i].matrix + ".weight")->layer);
    layers[layer.value_or(decoder.layers())].push_back(i);
  }
  std::vector<double> result(probes.size());
  progress.begin("sensitivity", static_cast<int64_t>(probes.size()));
  Prober prober(decoder, sequences);
  int64_t finished = 0;
  for (const auto& [layer, members] : layers) {
    std::vector<double> kl;
    if (layer == decoder.layers()) {
      for (const size_t i : members) kl.push_back(prober.whole(probes[i]));
    } else {
      std::vector<const Probe*> of_layer;
      for (const size_t i : members) of_layer.push_back(&probes[i]);
      kl = prober.layer(layer, of_layer);
    }
    for (size_t j = 0; j < members.size(); ++j) {
      result[members[j]] = kl[j];
      if (done) done(members[j], kl[j]);
    }
    finished += static_cast<int64_t>(members.size());
    progress.update(finished);
  }
  progress.end();
  return result;
}

}  // namespace mxq
