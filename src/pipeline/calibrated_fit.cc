#include "pipeline/calibrated_fit.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "mxq/error.h"
#include "mxq/measure.h"
#include "pipeline/statistics.h"

namespace mxq {

std::string decoder_matrix(int64_t layer, std::string_view module) {
  return fmt::format("model.layers.{}.{}", layer, module);
}

FeedbackFactor factor_of(const SecondMoments& moments, Fit fit) {
  GptqOptions options;
  options.feedback = fit == Fit::gptq;
  return FeedbackFactor(moments.values(), moments.width(), options);
}

const FeedbackFactor* OriginalFactors::of(const std::string& matrix) {
  if (matrix == decoder_.head()) {
    by_module_.clear();
    by_module_.emplace(matrix, std::make_shared<const FeedbackFactor>(factor_of(inputs_.head(), fit_)));
    return by_module_.begin()->second.get();
  }
  if (matrix == kEmbedding) return nullptr;
  const auto name = parse_matrix_name(matrix + ".weight");
  while (name && decoder_matrix(inputs_.layer() - 1, name->module) != matrix) {
    by_module_.clear();
    inputs_.next([&](LayerInput input, const SecondMoments& moments) {
      const auto factor = std::make_shared<const FeedbackFactor>(factor_of(moments, fit_));
      for (const auto module : modules_of(input)) by_module_.emplace(module, factor);
    });
  }
  return by_module_.at(name->module).get();
}

CalibratedQuantizer::CalibratedQuantizer(const ModelSource& model, Decoder& decoder, const TokenSequences& sequences,
                                         std::unordered_map<const SourceTensor*, Scheme> matrices,
                                         const QuantizeOptions& options)
    : model_(model),
      decoder_(decoder),
      inputs_(decoder, sequences),
      matrices_(std::move(matrices)),
      options_(options) {}

void CalibratedQuantizer::quantize(const SourceTensor& tensor, const Scheme& scheme, const FeedbackFactor* factor) {
  const auto weights = read_finite(model_, tensor);
  const MatrixView matrix{weights.data(), tensor.rows(), tensor.cols()};
  ready_.emplace(&tensor, factor != nullptr ? quantize_matrix_gptq(matrix, *factor, scheme, options_)
                                            : quantize_matrix(matrix, scheme, tabled(options_)));
  model_.done(tensor);
}

void CalibratedQuantizer::quantize(LayerInput input, const SecondMoments& moments) {
  std::unique_ptr<const FeedbackFactor> factor;
  for (const auto module : modules_of(input)) {
    const std::string name = decoder_matrix(inputs_.layer(), module);
    const SourceTensor* tensor = model_.find(name + ".weight");
    const auto found = matrices_.find(tensor);
    if (found == matrices_.end()) continue;
    if (!factor) factor = std::make_unique<const FeedbackFactor>(factor_of(moments, options_.fit));
    quantize(*tensor, found->second, factor.get());
    std::vector<float> weights(static_cast<size_t>(tensor->elements()));
    dequantize_matrix(ready_.at(tensor).view(), weights.data());
    Linear& linear = *decoder_.find_matrix(name);
    linear = linear.with_weights(weights.data());
  }
}

QuantizedMatrix CalibratedQuantizer::take(const SourceTensor& tensor) {
  const std::string name = tensor.matrix_name();
  if (name == decoder_.head()) {
    while (inputs_.layer() < decoder_.layers()) run_layer();
    const FeedbackFactor factor = factor_of(inputs_.head(), options_.fit);
    quantize(tensor, matrices_.at(&tensor), &factor);
  } else if (name == kEmbedding) {
    quantize(tensor, matrices_.at(&tensor), nullptr);
  }
  while (!ready_.contains(&tensor)) {
    if (inputs_.layer() == decoder_.layers()) {
      throw Error(ErrorCode::unsupported, "calibrate", fmt::format("matrix '{}'", name), "the matrices of the decoder");
    }
    run_layer();
  }
  return std::move(ready_.extract(&tensor).mapped());
}

void CalibratedQuantizer::run_layer() {
  inputs_.next([&](LayerInput input, const SecondMoments& moments) { quantize(input, moments); });
}

}  // namespace mxq
