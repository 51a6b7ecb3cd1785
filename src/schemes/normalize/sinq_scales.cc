#include "schemes/normalize/sinq_scales.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/parallel.h"
#include "schemes/normalize/column_scales.h"

namespace mxq {

namespace {

constexpr int kRounds = 16;
constexpr double kLeastDeviation = 1e-3, kMostDeviation = 1e3, kEpsilon = 1e-6;
constexpr double kLeastStep = 0.7, kMostStep = 2, kLeastLog = -0.3, kMostLog = 10;

/// With n - 1, as the package.
double deviation(double sum, double squares, int64_t n) {
  if (n < 2) return 0;
  const auto count = static_cast<double>(n);
  return std::sqrt(std::max(0.0, (squares - sum * sum / count) / (count - 1)));
}

class Tile {
 public:
  Tile(MatrixView matrix, int64_t first, int64_t width)
      : matrix_(matrix),
        first_(first),
        width_(width),
        log_column_(static_cast<size_t>(width)),
        log_row_(static_cast<size_t>(matrix.rows)),
        column_(static_cast<size_t>(width)),
        row_(static_cast<size_t>(matrix.rows)) {}

  /// Logarithms of the columns' factors.
  std::vector<double> balance() {
    measure();
    const double least = std::min(least_of(row_), least_of(column_)) + kEpsilon;
    double best = imbalance();
    auto found = log_column_;
    for (int round = 0; round < kRounds; ++round) {
      if (round > 0) measure();
      const double now = imbalance();
      if (now > best) break;
      best = now;
      found = log_column_;
      step(column_, least, log_column_);
      step(row_, least, log_row_);
    }
    return found;
  }

 private:
  /// Deviations of the rows and columns as they stand divided.
  void measure() {
    std::vector<double> by_column(static_cast<size_t>(width_)), sums(by_column.size()), squares(by_column.size());
    for (int64_t k = 0; k < width_; ++k) by_column[k] = std::exp(-log_column_[k]);
    for (int64_t r = 0; r < matrix_.rows; ++r) {
      const float* from = matrix_.data + r * matrix_.cols + first_;
      const double by_row = std::exp(-log_row_[r]);
      double sum = 0, square = 0;
      for (int64_t k = 0; k < width_; ++k) {
        const double x = double{from[k]} * by_column[k] * by_row;
        sum += x;
        square += x * x;
        sums[k] += x;
        squares[k] += x * x;
      }
      row_[r] = deviation(sum, square, width_);
    }
    for (int64_t k = 0; k < width_; ++k) column_[k] = deviation(sums[k], squares[k], matrix_.rows);
  }

  double imbalance() const {
    const double least =
        std::min(*std::min_element(row_.begin(), row_.end()), *std::min_element(column_.begin(), column_.end()));
    const double most =
        std::max(*std::max_element(row_.begin(), row_.end()), *std::max_element(column_.begin(), column_.end()));
    return most / std::max(least, 1e-12);
  }

  static double clamped(double deviation) { return std::clamp(deviation, kLeastDeviation, kMostDeviation); }
  static double least_of(const std::vector<double>& deviations) {
    return clamped(*std::min_element(deviations.begin(), deviations.end()));
  }
  static void step(const std::vector<double>& deviations, double least, std::vector<double>& logs) {
    for (size_t i = 0; i < logs.size(); ++i) {
      const double factor = std::clamp(clamped(deviations[i]) / least, kLeastStep, kMostStep);
      logs[i] = std::clamp(logs[i] + std::log(factor), kLeastLog, kMostLog);
    }
  }

  MatrixView matrix_;
  int64_t first_, width_;
  std::vector<double> log_column_, log_row_;
  std::vector<double> column_, row_;
};

}  // namespace

std::vector<float> sinq_scales(MatrixView matrix, int64_t tile) {
  std::vector<float> t(static_cast<size_t>(matrix.cols), 1.0f);
  if (matrix.size() == 0) return t;
  parallel_for((matrix.cols + tile - 1) / tile, [&](int64_t i) {
    const int64_t first = i * tile, width = std::min(tile, matrix.cols - first);
    const auto logs = Tile(matrix, first, width).balance();
    double mean = 0;
    for (const double log : logs) mean += log / static_cast<double>(width);
    for (int64_t k = 0; k < width; ++k) {
      t[static_cast<size_t>(first + k)] = rounded_scale(std::exp(logs[static_cast<size_t>(k)] - mean));
    }
  });
  return t;
}

}  // namespace mxq
