#include "schemes/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "mxq/error.h"

namespace mxq {

void check_weight_only(Fit fit, const char* operation) {
  if (fit == Fit::gptq || fit == Fit::awq) {
    throw Error(ErrorCode::unsupported, operation, fmt::format("fit {} of weights alone", fit_name(fit)),
                "rtn, hqq, mse");
  }
}

void check_shape(int64_t rows, int64_t cols, const char* operation) {
  // Leaves room for padding to groups and for eight bytes a weight.
  constexpr int64_t kLargest = int64_t{1} << 48;
  if (rows < 0 || cols < 0 || rows > kLargest || cols > kLargest || (cols > 0 && rows > kLargest / cols)) {
    throw Error(ErrorCode::unsupported, operation, fmt::format("a matrix of {} x {}", rows, cols),
                "at most 2^48 weights");
  }
}

void check_finite(MatrixView matrix, const char* operation) {
  constexpr int64_t kChunk = 1 << 16;
  const int64_t size = matrix.size(), chunks = (size + kChunk - 1) / kChunk;
  std::vector<int64_t> first(static_cast<size_t>(chunks), size);
  parallel_for(chunks, [&](int64_t chunk) {
    const int64_t begin = chunk * kChunk, end = std::min(size, begin + kChunk);
    // |w| as an integer: infinities and NaNs are the largest.
    uint32_t largest = 0;
    for (int64_t i = begin; i < end; ++i) {
      uint32_t bits;
      std::memcpy(&bits, matrix.data + i, sizeof bits);
      largest = std::max(largest, bits & 0x7fffffffu);
    }
    if (largest < 0x7f800000u) return;
    int64_t i = begin;
    while (std::isfinite(matrix.data[i])) ++i;
    first[chunk] = i;
  });
  for (const int64_t i : first) {
    if (i == size) continue;
    throw Error(ErrorCode::not_finite, operation,
                fmt::format("{} at row {}, column {}", matrix.data[i], i / matrix.cols, i % matrix.cols),
                "finite weights");
  }
}

}  // namespace mxq
