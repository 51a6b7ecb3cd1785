#include "calibrate/calibrated_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "model/statistics.h"
#include "mxq/error.h"
#include "mxq/measure.h"
#include "schemes/family.h"
#include "schemes/feedback/correction.h"
#include "schemes/normalize/normalize.h"

namespace mxq {

namespace {

FeedbackFactor make_factor(const SecondMoments& moments, const GptqOptions& options) {
  return FeedbackFactor(moments.values, moments.width, options);
}

}  // namespace

std::string decoder_matrix(int64_t layer, std::string_view module) {
  return fmt::format("model.layers.{}.{}", layer, module);
}

GptqOptions gptq_options(const QuantizeOptions& quantize, int64_t group) {
  const FeedbackOptions& feedback = quantize.feedback;
  GptqOptions options;
  options.damping = feedback.damping;
  options.shrinkage = feedback.shrinkage;
  options.sweeps = feedback.sweeps;
  if (feedback.order == ColumnOrder::diagonal) options.ordered_groups = group;
  options.feedback = quantize.fit == Fit::gptq;
  if (feedback.zero_point == ZeroPoint::integer) options.grid = GptqOptions::Grid::range;
  if (feedback.zero_point == ZeroPoint::symmetric) options.grid = GptqOptions::Grid::symmetric;
  return options;
}

std::set<std::string> for_each_factor(
    Runner& runner, const TokenSequences& sequences, std::span<const std::vector<float>> weights,
    const GptqOptions& options, std::set<std::string> matrices,
    const std::function<void(const std::string& matrix, const FeedbackFactor& factor)>& use) {
  const bool head = matrices.erase(std::string(runner.head())) > 0;
  auto looked_up = matrices.extract(std::string(kEmbedding));
  LayerInputs inputs(runner, sequences, weights);
  while (!matrices.empty() && inputs.layer() < runner.layers()) {
    const int64_t layer = inputs.layer();
    inputs.next([&](const InputPlace& place, const SecondMoments& moments) {
      std::optional<FeedbackFactor> factor;
      for (const auto& module : modules_of(runner.config(), layer, place)) {
        const std::string name = decoder_matrix(layer, module);
        if (matrices.erase(name) == 0) continue;
        if (!factor) factor.emplace(make_factor(moments, options));
        use(name, *factor);
      }
    });
  }
  if (head) use(std::string(runner.head()), make_factor(inputs.head(), options));
  matrices.insert(std::move(looked_up));
  return matrices;
}

CalibratedQuantizer::CalibratedQuantizer(const ModelSource& model, Runner& runner, const TokenSequences& sequences,
                                         std::span<const std::vector<float>> weights,
                                         std::unordered_map<const SourceTensor*, Scheme> matrices,
                                         const QuantizeOptions& options)
    : model_(model),
      runner_(runner),
      inputs_(runner, sequences, weights, options.feedback.correction > 0),
      matrices_(std::move(matrices)),
      options_(options) {}

FeedbackFactor CalibratedQuantizer::factor_of(const SecondMoments& moments, const Scheme& scheme) const {
  return make_factor(moments, gptq_options(options_, scheme.group));
}

std::vector<std::string> CalibratedQuantizer::notes() const {
  std::vector<std::string> notes;
  if (damped_more_ > 0) {
    notes.push_back(fmt::format(
        "the second moments of the inputs of {} of {} matrices were not positive definite with a damping of {}: "
        "raised, to {} at most",
        damped_more_, fed_back_, options_.feedback.damping, most_damping_));
  }
  if (std::string note = inputs_.note(); !note.empty()) notes.push_back(std::move(note));
  return notes;
}

std::vector<float> CalibratedQuantizer::weights_of(const SourceTensor& tensor, const Scheme& scheme,
                                                   const FeedbackFactor* factor, const SecondMoments* moments) const {
  auto weights = read_finite(model_, tensor);
  if (factor == nullptr || moments == nullptr || moments->cross.empty()) return weights;
  const MatrixView matrix{weights.data(), tensor.rows(), tensor.cols()};
  // What the scheme holds nearly as it is would be moved off its grid.
  if (lies_on_grid(matrix, scheme, options_)) return weights;
  return corrected(matrix, moments->values, moments->cross, *factor, options_.feedback.correction);
}

void CalibratedQuantizer::quantize(const SourceTensor& tensor, const Scheme& scheme, const FeedbackFactor* factor,
                                   const SecondMoments* moments) {
  const auto weights = weights_of(tensor, scheme, factor, moments);
  const MatrixView matrix{weights.data(), tensor.rows(), tensor.cols()};
  if (factor != nullptr && family_of(scheme.family).takes_feedback()) {
    double damping = 0;
    ready_.emplace(&tensor, quantize_matrix_gptq(matrix, *factor, scheme, options_, &damping));
    ++fed_back_;
    if (damping > options_.feedback.damping) ++damped_more_;
    most_damping_ = std::max(most_damping_, damping);
  } else {
    ready_.emplace(&tensor, quantize_matrix(matrix, scheme, tabled(options_)));
  }
}

void CalibratedQuantizer::quantize(const InputPlace& place, const SecondMoments& moments) {
  // One for all, unless the order of columns depends on the groups.
  std::map<int64_t, FeedbackFactor> factors;
  for (const auto& module : modules_of(runner_.config(), inputs_.layer(), place)) {
    const std::string name = decoder_matrix(inputs_.layer(), module);
    const SourceTensor* tensor = model_.find(name + ".weight");
    const auto found = matrices_.find(tensor);
    if (found == matrices_.end()) continue;
    const Scheme& scheme = found->second;
    const int64_t key = options_.feedback.order == ColumnOrder::left ? 0 : scheme.group;
    auto factor = factors.find(key);
    if (factor == factors.end()) factor = factors.emplace(key, factor_of(moments, scheme)).first;
    quantize(*tensor, scheme, &factor->second, &moments);
    std::vector<float> weights(static_cast<size_t>(tensor->elements()));
    dequantize_matrix(ready_.at(tensor).view(), weights.data());
    replaced_.emplace_back(runner_.make_replacement(name, std::move(weights)));
  }
}

QuantizedMatrix CalibratedQuantizer::take(const SourceTensor& tensor) {
  const std::string name = tensor.matrix_name();
  if (name == runner_.head()) {
    while (inputs_.layer() < runner_.layers()) run_layer();
    const Scheme& scheme = matrices_.at(&tensor);
    const FeedbackFactor factor = factor_of(inputs_.head(), scheme);
    quantize(tensor, scheme, &factor, nullptr);
  } else if (name == kEmbedding) {
    quantize(tensor, matrices_.at(&tensor), nullptr, nullptr);
  }
  while (!ready_.contains(&tensor)) {
    if (inputs_.layer() == runner_.layers()) {
      throw Error(ErrorCode::unsupported, "calibrate", fmt::format("matrix '{}'", name), "the matrices of the decoder");
    }
    run_layer();
  }
  return std::move(ready_.extract(&tensor).mapped());
}

void CalibratedQuantizer::run_layer() {
  inputs_.next([&](const InputPlace& place, const SecondMoments& moments) { quantize(place, moments); });
  replaced_.clear();
}

}  // namespace mxq
