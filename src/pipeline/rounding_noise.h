// What bf16 adds to measured divergences.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "model/model_source.h"

namespace mxq {

/// Where products take bf16, a change of a matrix also changes how everything behind it is rounded. The divergence that
/// this causes does not depend on how large the change is: on SmolLM2-135M 2.2e-4 nats from layer 0 on, 0.5e-4 from the
/// last one, a third of what a b3g64 probe of some q_proj shows and most of what a b4 probe does. It is measured by
/// changes too small to matter, in some layers, and interpolated.
class RoundingNoise {
 public:
  /// Layers in which it is measured: every fourth and the last.
  static std::vector<int64_t> layers_to_measure(int64_t layers);
  /// A matrix that is changed so little that roundings are all that changes: at b8g32, one thousandth of the squared
  /// error of b3g64.
  static std::vector<float> changed(const ModelSource& model, const SourceTensor& tensor);

  void set(int64_t layer, double kl) { measured_[layer] = kl; }
  /// Linear between the layers that were measured; 0 where none was.
  double at(int64_t layer) const;

 private:
  std::map<int64_t, double> measured_;
};

}  // namespace mxq
