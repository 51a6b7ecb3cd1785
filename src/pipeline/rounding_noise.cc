#include "pipeline/rounding_noise.h"

#include <iterator>

#include "mxq/quantized_matrix.h"

namespace mxq {

std::vector<int64_t> RoundingNoise::layers_to_measure(int64_t layers) {
  constexpr int64_t kEvery = 4;
  std::vector<int64_t> result;
  for (int64_t layer = 0; layer + 1 < layers; layer += kEvery) result.push_back(layer);
  if (layers > 0) result.push_back(layers - 1);
  return result;
}

std::vector<float> RoundingNoise::changed(const ModelSource& model, const SourceTensor& tensor) {
  std::vector<float> weights(static_cast<size_t>(tensor.elements()));
  model.read(tensor, weights.data());
  const auto quantized =
      quantize_matrix({weights.data(), tensor.rows(), tensor.cols()}, {8, 32}, {.fit = Fit::rtn, .axis = 1});
  dequantize_matrix(quantized.view(), weights.data());
  return weights;
}

double RoundingNoise::at(int64_t layer) const {
  if (measured_.empty()) return 0;
  const auto above = measured_.lower_bound(layer);
  if (above == measured_.end()) return measured_.rbegin()->second;
  if (above->first == layer || above == measured_.begin()) return above->second;
  const auto below = std::prev(above);
  const double share = static_cast<double>(layer - below->first) / static_cast<double>(above->first - below->first);
  return below->second + share * (above->second - below->second);
}

}  // namespace mxq
