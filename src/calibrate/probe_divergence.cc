#include "calibrate/probe_divergence.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "base/parallel.h"
#include "calibrate/score_gradients.h"
#include "evaluate/score.h"
#include "kernels/matmul.h"
#include "kernels/rows.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

/// Whether the model gave numbers all the way.
template <typename Run>
bool if_finite(Run run) {
  try {
    run();
    return true;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_finite) throw;
    return false;
  }
}

class Prober {
 public:
  /// Progress: phases "outputs" and "sensitivity", in draws of so many layers.
  Prober(Runner& runner, std::span<const std::vector<int32_t>> sequences, const ProbeOptions& options, size_t layers,
         Progress& progress)
      : runner_(runner), options_(options), progress_(progress), steps_(static_cast<int64_t>(layers) * options.draws) {
    for (const auto& ids : sequences) sequences_.push_back({ids});
  }

  /// Of the probes of one layer; layers fall.
  std::vector<double> layer(int64_t index, std::span<const Probe* const> probes) {
    if (!gradients_) {
      gradients_.emplace(runner_, sequences_, options_.draws, options_.seed, &progress_);
      progress_.begin("sensitivity", steps_);
    }
    while (gradients_->layer() > index) gradients_->back({}, {});
    std::vector<Change> changes;
    std::map<std::string, std::vector<size_t>, std::less<>> of_module;
    const auto look = [&](const LayerRows& rows) {
      for (size_t i = 0; i < probes.size(); ++i) {
        const std::string module = parse_matrix_name(probes[i]->matrix + ".weight")->module;
        changes.push_back(
            change_of_outputs(*probes[i], rows(find_layer_tensor(runner_.config(), index, module)->input())));
        of_module[module].push_back(i);
      }
    };
    std::vector<double> kl(probes.size());
    gradients_->back(
        look,
        [&](std::string_view module, const float* of_outputs) {
          const auto members = of_module.find(module);
          if (members == of_module.end()) return;
          for (const size_t i : members->second) kl[i] += divergence(of_outputs, changes[i]);
        },
        [&] { progress_.update(++done_); });
    for (double& value : kl) value /= static_cast<double>(options_.draws);
    return kl;
  }

  /// Of a probe outside the layers.
  double whole(const Probe& probe) {
    if (hidden_.empty()) hidden_ = runner_.hidden(sequences_);
    const auto replacement = runner_.make_replacement(probe.matrix, probe.weights());
    double kl = std::numeric_limits<double>::quiet_NaN();
    if_finite([&] {
      std::vector<float> hidden;
      {
        const During during(*replacement);
        hidden = runner_.hidden(sequences_);
      }
      kl = divergence(hidden, *replacement);
    });
    return kl;
  }

 private:
  int64_t tokens() const {
    int64_t sum = 0;
    for (const Sequence& sequence : sequences_) sum += static_cast<int64_t>(sequence.ids.size());
    return sum;
  }

  /// What a probe adds to what its matrix puts out.
  struct Change {
    int64_t rows = 0, width = 0;
    std::vector<float> values;
    std::vector<int32_t> tokens;  // as InputRows
  };
  Change change_of_outputs(const Probe& probe, const InputRows& input) const {
    const auto [out, in] = runner_.find_matrix(probe.matrix).value();
    auto change = probe.weights();
    std::vector<float> room;
    const auto weights = runner_.weights(probe.matrix, room);
    for (size_t i = 0; i < change.size(); ++i) change[i] -= weights[i];
    Change result{std::ssize(input.values) / in, out, {}, {input.tokens.begin(), input.tokens.end()}};
    result.values.resize(static_cast<size_t>(result.rows * out));
    if (result.rows == 0) return result;
    matmul_transposed(result.rows, out, in, input.values.data(), in, change.data(), in, result.values.data(), out);
    return result;
  }

  /// The mean over all tokens, by one draw: `gradient` has the rows of the change.
  double divergence(const float* gradient, const Change& change) const {
    const int64_t n = tokens(), width = change.width;
    std::vector<float> seen(static_cast<size_t>(n));
    parallel_for(change.rows, [&](int64_t r) {
      const auto t = static_cast<size_t>(change.tokens.empty() ? r : change.tokens[static_cast<size_t>(r)]);
      seen[t] = dot(gradient + r * width, change.values.data() + r * width, width);
    });
    double sum = 0;
    auto left = std::span<const float>(seen);
    for (const Sequence& sequence : sequences_) {
      sum += windowed_divergence(left.first(sequence.ids.size()), options_.window);
      left = left.subspan(sequence.ids.size());
    }
    return sum / static_cast<double>(n);
  }

  /// The mean over all tokens of the divergence from hidden_, and the matrices as they are, of `hidden` and the
  /// replacement.
  double divergence(const std::vector<float>& hidden, Replacement& replacement) {
    const int64_t n = tokens(), vocab = runner_.vocab_size(), width = runner_.hidden_size();
    const int64_t block = std::min(logit_rows(vocab), n);
    std::vector<float> expected(static_cast<size_t>(block * vocab)), found(expected.size());
    std::vector<double> kl(static_cast<size_t>(n));
    for (int64_t first = 0; first < n; first += block) {
      const int64_t rows = std::min(block, n - first);
      runner_.logits(hidden_.data() + first * width, rows, expected.data());
      {
        const During during(replacement);
        runner_.logits(hidden.data() + first * width, rows, found.data());
      }
      parallel_for(rows, [&](int64_t r) {
        kl[static_cast<size_t>(first + r)] =
            row_divergence(expected.data() + r * vocab, found.data() + r * vocab, vocab).kl;
      });
    }
    return std::accumulate(kl.begin(), kl.end(), 0.0) / static_cast<double>(n);
  }

  Runner& runner_;
  ProbeOptions options_;
  Progress& progress_;
  int64_t steps_, done_ = 0;
  std::vector<Sequence> sequences_;
  std::optional<ScoreGradients> gradients_;
  std::vector<float> hidden_;  // of the model as it is
};

}  // namespace

double windowed_divergence(std::span<const float> changes, int64_t window) {
  // The sums of all runs of `window` tokens, those that hang over an end too, squared: a pair of tokens shares
  // window - |t - u| of them.
  const auto n = static_cast<int64_t>(changes.size());
  double run = 0, squares = 0;
  for (int64_t end = 0; end < n + window - 1; ++end) {
    if (end < n) run += changes[static_cast<size_t>(end)];
    if (end >= window) run -= changes[static_cast<size_t>(end - window)];
    squares += run * run;
  }
  return squares / static_cast<double>(2 * window);
}

std::vector<double> probe_divergences(Runner& runner, std::span<const std::vector<int32_t>> sequences,
                                      std::span<const Probe> probes, const ProbeOptions& options, Progress& progress,
                                      const std::function<void(size_t probe, double kl)>& done) {
  std::map<int64_t, std::vector<size_t>, std::greater<>> layers;
  for (size_t i = 0; i < probes.size(); ++i) {
    if (!runner.find_matrix(probes[i].matrix)) {
      throw Error(ErrorCode::usage, "measure sensitivity", fmt::format("matrix '{}'", probes[i].matrix),
                  "the matrices of the decoder");
    }
    const auto layer = parse_int(parse_matrix_name(probes[i].matrix + ".weight")->layer);
    layers[layer.value_or(runner.layers())].push_back(i);
  }
  std::vector<double> result(probes.size());
  Prober prober(runner, sequences, options, layers.size() - layers.count(runner.layers()), progress);
  for (const auto& [layer, members] : layers) {
    std::vector<double> kl;
    if (layer == runner.layers()) {
      progress.begin("sensitivity of embeddings", std::ssize(members));
      for (const size_t i : members) {
        kl.push_back(prober.whole(probes[i]));
        progress.update(std::ssize(kl));
      }
      progress.end();
    } else {
      std::vector<const Probe*> of_layer;
      for (const size_t i : members) of_layer.push_back(&probes[i]);
      kl = prober.layer(layer, of_layer);
    }
    for (size_t j = 0; j < members.size(); ++j) {
      result[members[j]] = kl[j];
      if (done) done(members[j], kl[j]);
    }
  }
  progress.end();
  return result;
}

}  // namespace mxq
