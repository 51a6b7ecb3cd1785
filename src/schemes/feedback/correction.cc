#include "schemes/feedback/correction.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/parallel.h"
#include "kernels/matmul.h"
#include "mxq/error.h"

namespace mxq {

std::vector<float> corrected(MatrixView matrix, std::span<const float> moments, std::span<const float> cross,
                             const FeedbackFactor& factor, double share) {
  const int64_t rows = matrix.rows, cols = matrix.cols;
  if (factor.cols() != cols || std::ssize(moments) != cols * cols || std::ssize(cross) != cols * cols) {
    throw Error(ErrorCode::usage, "correct weights",
                fmt::format("{} and {} moments for {} columns", moments.size(), cross.size(), cols),
                "columns x columns, and a factor of as many");
  }
  const auto per_mean = static_cast<float>(1 / factor.mean_diagonal());
  std::vector<float> change(cross.size());
  parallel_for(cols, [&](int64_t i) {
    for (int64_t j = 0; j < cols; ++j) {
      const float h = moments[static_cast<size_t>(std::min(i, j) * cols + std::max(i, j))];
      const auto at = static_cast<size_t>(i * cols + j);
      change[at] = (cross[at] - h) * per_mean;
    }
  });
  std::vector<float> moved(static_cast<size_t>(matrix.size()));
  matmul(rows, cols, cols, matrix.data, cols, change.data(), cols, moved.data(), cols);
  factor.solve(moved.data(), rows);
  const auto by = static_cast<float>(share);
  for (size_t i = 0; i < moved.size(); ++i) moved[i] = matrix.data[i] + by * moved[i];
  return moved;
}

}  // namespace mxq
