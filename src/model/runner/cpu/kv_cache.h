// Keys and values of a sequence, in memory.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "model/runner/cpu/head_rows.h"
#include "model/runner/cpu/linear_attention.h"
#include "model/runner/runner.h"

namespace mxq {

class CpuKvCache final : public KvCache {
 public:
  struct Layer {
    HeadRows keys, values;              // keys are rotated
    std::optional<LinearState> linear;  // of linear attention, once a token has come
  };
  std::vector<Layer> layers;

  explicit CpuKvCache(int64_t layer_count) : layers(static_cast<size_t>(layer_count)) {}

  /// These tokens are in all layers now.
  void add(std::span<const int32_t> ids) {
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    length_ = std::ssize(ids_);
  }
  /// Empties it; the tokens that were in it.
  std::vector<int32_t> take() {
    for (Layer& layer : layers) layer = Layer();
    length_ = 0;
    return std::exchange(ids_, {});
  }

 private:
  std::vector<int32_t> ids_;
};

}  // namespace mxq
