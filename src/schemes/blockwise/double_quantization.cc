#include "schemes/blockwise/double_quantization.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <vector>

namespace mxq::blockwise {

namespace {

std::array<float, 256> make_dynamic_map() {
  std::array<float, 256> map{};
  size_t size = 0;
  const auto add = [&](float value) { map[size++] = value; };
  constexpr int kExponents = 7;
  for (int e = 0; e < kExponents; ++e) {
    // 2^e fractions: the middles of equal parts of [0.1, 1], counted from both ends as torch.linspace does.
    const int parts = 1 << e;
    const float start = 0.1f, end = 1.0f, step = (end - start) / static_cast<float>(parts);
    const auto boundary = [&](int j) {
      const bool left = j < (parts + 1) / 2;
      return left ? std::fma(step, static_cast<float>(j), start) : std::fma(-step, static_cast<float>(parts - j), end);
    };
    const auto scale = static_cast<float>(std::pow(10.0, e - (kExponents - 1)));
    for (int j = 0; j < parts; ++j) {
      const float middle = (boundary(j) + boundary(j + 1)) / 2.0f;
      add(scale * middle);
      add(-scale * middle);
    }
  }
  add(0.0f);
  add(1.0f);
  std::sort(map.begin(), map.end());
  return map;
}

constexpr int kEntries = 1 << 16;
/// Entry i stands for the value i / kHalf - 1.
constexpr float kHalf = 32767.5f;

const std::vector<uint8_t>& nearest_codes() {
  static const std::vector<uint8_t> codes = [] {
    const auto map = dynamic_map();
    std::vector<uint8_t> nearest(kEntries);
    for (int i = 0; i < kEntries; ++i) {
      const float value = static_cast<float>(i) / kHalf - 1.0f;
      const auto above = std::upper_bound(map.begin(), map.end(), value);
      auto code = std::max<int64_t>(above - map.begin() - 1, 0);
      if (code < 255 && std::fabs(value - map[code + 1]) < std::fabs(value - map[code])) ++code;
      nearest[static_cast<size_t>(i)] = static_cast<uint8_t>(code);
    }
    return nearest;
  }();
  return codes;
}

/// PyTorch's sum of contiguous floats: vectors of 8 lanes in 4 interleaved rows, each added up in a cascade of 4 levels
/// (aten/src/ATen/native/cpu/SumKernel.cpp).
float cascade_sum(std::span<const float> values) {
  constexpr int64_t kLanes = 8, kRows = 4, kLevels = 4;
  using Row = std::array<float, kRows * kLanes>;
  const auto add = [](Row& to, const float* from) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  };
  const auto size = static_cast<int64_t>(values.size());
  const int64_t vectors = size / kLanes, steps = vectors / kRows;
  const int log2 = steps > 1 ? static_cast<int>(std::bit_width(static_cast<uint64_t>(steps - 1))) : 0;
  const int64_t power = std::max<int64_t>(4, log2 / kLevels), step = int64_t{1} << power;
  std::array<Row, kLevels> levels{};
  int64_t i = 0;
  while (i + step <= steps) {
    for (const int64_t end = i + step; i < end; ++i) add(levels[0], values.data() + i * kRows * kLanes);
    for (int64_t level = 1; level < kLevels; ++level) {
      add(levels[level], levels[level - 1].data());
      levels[level - 1].fill(0);
      if ((i & ((step - 1) << (level * power))) != 0) break;
    }
  }
  for (; i < steps; ++i) add(levels[0], values.data() + i * kRows * kLanes);
  for (int64_t level = 1; level < kLevels; ++level) add(levels[0], levels[level].data());
  std::array<float, kLanes> lanes;
  std::copy_n(levels[0].begin(), kLanes, lanes.begin());
  const auto add_lanes = [&](const float* from) {
    for (size_t k = 0; k < lanes.size(); ++k) lanes[k] += from[k];
  };
  for (int64_t v = steps * kRows; v < vectors; ++v) add_lanes(values.data() + v * kLanes);
  for (int64_t row = 1; row < kRows; ++row) add_lanes(levels[0].data() + row * kLanes);
  float sum = 0;
  for (int64_t k = vectors * kLanes; k < size; ++k) sum += values[static_cast<size_t>(k)];
  for (const float lane : lanes) sum += lane;
  return sum;
}

}  // namespace

std::span<const float> dynamic_map() {
  static const std::array<float, 256> map = make_dynamic_map();
  return map;
}

void double_quantize(std::span<const float> absmax, float& offset, std::span<float> nested_absmax,
                     std::span<uint8_t> codes) {
  offset = cascade_sum(absmax) / static_cast<float>(absmax.size());
  const auto& nearest = nearest_codes();
  for (size_t block = 0; block < nested_absmax.size(); ++block) {
    const size_t first = block * kNestedBlock, end = std::min(absmax.size(), first + kNestedBlock);
    float largest = 0;
    for (size_t i = first; i < end; ++i) largest = std::max(largest, std::fabs(absmax[i] - offset));
    nested_absmax[block] = largest;
    if (largest == 0) {
      std::fill(codes.begin() + static_cast<int64_t>(first), codes.begin() + static_cast<int64_t>(end), uint8_t{0});
      continue;
    }
    const float inverse = 1.0f / largest;
    for (size_t i = first; i < end; ++i) {
      const float entry = ((absmax[i] - offset) * inverse + 1.0f) * kHalf + 0.5f;
      codes[i] = nearest[static_cast<size_t>(std::clamp(entry, 0.0f, static_cast<float>(kEntries - 1)))];
    }
  }
}

}  // namespace mxq::blockwise
