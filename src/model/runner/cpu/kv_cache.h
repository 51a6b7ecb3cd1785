// Keys and values of a sequence, in memory.
#pragma once

#include <cstdint>
#include <vector>

#include "model/runner/runner.h"

namespace mxq {

class CpuKvCache final : public KvCache {
 public:
  struct Layer {
    std::vector<float> keys, values;  // [length, kv_heads * head_dim]; keys are rotated
  };
  std::vector<Layer> layers;

  explicit CpuKvCache(int64_t layer_count) : layers(static_cast<size_t>(layer_count)) {}

  /// So many tokens are in all layers now.
  void add_length(int64_t tokens) { length_ += tokens; }
};

}  // namespace mxq
