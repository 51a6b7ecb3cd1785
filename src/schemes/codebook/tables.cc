// The families of codebooks: what their levels are.
#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "base/parallel.h"
#include "schemes/codebook/codebook.h"
#include "schemes/codebook/kmeans_1d.h"
#include "schemes/codebook/lloyd_max.h"

namespace mxq {

namespace codebook {

namespace {

/// Values over their root mean square among 128 are within +-12; bins of 1/2048.
constexpr int64_t kBins = 1 << 16;
constexpr double kLargest = 16;
/// Rows are added up in so many runs, whatever the number of threads.
constexpr int64_t kRuns = 8;

class KmeansFamily : public CodebookFamily {
 public:
  KmeansFamily() : CodebookFamily("kmeans", "km", true) {}

 protected:
  std::vector<float> levels(MatrixView matrix, const Scheme& scheme) const override {
    const auto size = size_t{1} << scheme.bits;
    std::vector<std::vector<Bin>> runs(kRuns);
    parallel_for(kRuns, [&](int64_t run) {
      auto& bins = runs[static_cast<size_t>(run)];
      bins.resize(kBins);
      for (int64_t r = matrix.rows * run / kRuns; r < matrix.rows * (run + 1) / kRuns; ++r) {
        for (int64_t k = 0; k < matrix.cols; k += scheme.group) {
          add_group(matrix.data + r * matrix.cols + k, std::min<int64_t>(scheme.group, matrix.cols - k), bins);
        }
      }
    });
    std::vector<Bin> used;
    for (int64_t i = 0; i < kBins; ++i) {
      Bin all;
      for (const auto& bins : runs) {
        const Bin& bin = bins[static_cast<size_t>(i)];
        all = {all.weight + bin.weight, all.sum + bin.sum, all.squares + bin.squares};
      }
      if (all.weight > 0) used.push_back(all);
    }
    std::vector<float> levels;
    for (const double level : kmeans_1d(used, static_cast<int>(size))) {
      levels.push_back(f32_from_f16(f16_from_f32(static_cast<float>(level))));
    }
    levels.resize(size, levels.empty() ? 0.0f : levels.back());
    return levels;
  }

 private:
  /// Each weight over the group's root mean square, which its squared error is then multiplied by.
  static void add_group(const float* weights, int64_t n, std::vector<Bin>& bins) {
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += double{weights[i]} * weights[i];
    const double mean = squares / static_cast<double>(n);
    if (!(mean > 0)) return;
    const double inverse = 1 / std::sqrt(mean);
    for (int64_t i = 0; i < n; ++i) {
      const double x = weights[i] * inverse;
      const double place = (x + kLargest) * (static_cast<double>(kBins) / (2 * kLargest));
      Bin& bin = bins[static_cast<size_t>(std::clamp(place, 0.0, static_cast<double>(kBins - 1)))];
      bin.weight += mean;
      bin.sum += mean * x;
      bin.squares += mean * x * x;
    }
  }
};

class GaussianFamily : public CodebookFamily {
 public:
  GaussianFamily() : CodebookFamily("gaussian", "gauss", false) {}

 protected:
  std::vector<float> levels(MatrixView, const Scheme& scheme) const override { return lloyd_max_levels(scheme.bits); }
};

}  // namespace

}  // namespace codebook

const SchemeFamily& gaussian_family() {
  static const codebook::GaussianFamily family;
  return family;
}

const SchemeFamily& kmeans_family() {
  static const codebook::KmeansFamily family;
  return family;
}

}  // namespace mxq
