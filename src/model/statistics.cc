#include "model/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr int64_t kChunk = 1 << 16;

/// sum over chunks of body(begin, end), reduced in order.
template <size_t N, typename Body>
std::array<double, N> chunked_sums(int64_t size, Body body) {
  const int64_t chunks = (size + kChunk - 1) / kChunk;
  std::vector<std::array<double, N>> partial(static_cast<size_t>(chunks));
  parallel_for(
      chunks, [&](int64_t c) { partial[static_cast<size_t>(c)] = body(c * kChunk, std::min(size, (c + 1) * kChunk)); });
  std::array<double, N> total{};
  for (const auto& sums : partial) {
    for (size_t i = 0; i < N; ++i) total[i] += sums[i];
  }
  return total;
}

}  // namespace

Moments moments(MatrixView matrix, const std::string& name) {
  const int64_t size = matrix.size();
  if (size == 0) return {};
  const float* w = matrix.data;
  const auto sums = chunked_sums<2>(size, [&](int64_t begin, int64_t end) {
    double sum = 0, squares = 0;
    for (int64_t i = begin; i < end; ++i) {
      sum += w[i];
      squares += static_cast<double>(w[i]) * w[i];
    }
    return std::array{sum, squares};
  });
  if (!std::isfinite(sums[1])) {
    const float* bad = std::find_if(w, w + size, [](float x) { return !std::isfinite(x); });
    if (bad != w + size) {
      throw Error(ErrorCode::not_finite, "read weights",
                  fmt::format("'{}' holds {} at row {}, column {}", name, *bad, (bad - w) / matrix.cols,
                              (bad - w) % matrix.cols),
                  "finite numbers");
    }
  }
  const double mean = sums[0] / static_cast<double>(size);
  const auto central = chunked_sums<2>(size, [&](int64_t begin, int64_t end) {
    double second = 0, fourth = 0;
    for (int64_t i = begin; i < end; ++i) {
      const double d = w[i] - mean, d2 = d * d;
      second += d2;
      fourth += d2 * d2;
    }
    return std::array{second, fourth};
  });
  const double variance = central[0] / static_cast<double>(size);
  const double kurtosis = variance > 0 ? central[1] / static_cast<double>(size) / (variance * variance) : 0;
  return {std::sqrt(sums[1]), std::isfinite(kurtosis) ? kurtosis : 0};
}

std::vector<float> read_weights(const ModelSource& model, const SourceTensor& tensor) {
  std::vector<float> weights(static_cast<size_t>(tensor.elements()));
  model.read(tensor, weights.data());
  model.done(tensor);
  return weights;
}

std::vector<float> read_finite(const ModelSource& model, const SourceTensor& tensor) {
  auto weights = read_weights(model, tensor);
  moments({weights.data(), tensor.rows(), tensor.cols()}, tensor.name);
  return weights;
}

std::array<double, 5> magnitude_percentiles(MatrixView matrix) {
  std::array<double, 5> result{};
  const int64_t size = matrix.size();
  if (size == 0) return result;
  std::vector<float> magnitudes(static_cast<size_t>(size));
  std::transform(matrix.data, matrix.data + size, magnitudes.begin(), [](float x) { return std::abs(x); });
  auto sorted_from = magnitudes.begin();  // percentiles rise, so each search may start where the last one ended
  for (size_t i = 0; i < kPercentiles.size(); ++i) {
    const double position = kPercentiles[i] / 100 * static_cast<double>(size - 1);
    const auto index = static_cast<int64_t>(position);
    const auto at = magnitudes.begin() + index;
    if (at >= sorted_from) std::nth_element(sorted_from, at, magnitudes.end());
    const double low = *at;
    const double high = index + 1 < size ? *std::min_element(at + 1, magnitudes.end()) : low;
    result[i] = low + (position - static_cast<double>(index)) * (high - low);
    sorted_from = at;
  }
  return result;
}

}  // namespace mxq
