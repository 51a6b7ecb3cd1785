// output_error.
#include <fmt/format.h>

#include <vector>

#include "kernels/matmul.h"
#include "mxq/error.h"
#include "schemes/feedback/gptq.h"

namespace mxq {

double output_error(MatrixView matrix, const QuantizedView& quantized, std::span<const float> second_moments) {
  constexpr const char* kOperation = "measure output error";
  const int64_t rows = matrix.rows, cols = matrix.cols;
  if (quantized.layout.rows != rows || quantized.layout.cols != cols) {
    throw Error(ErrorCode::usage, kOperation,
                fmt::format("a quantized matrix of {} x {}", quantized.layout.rows, quantized.layout.cols),
                fmt::format("{} x {}, the shape of the matrix", rows, cols));
  }
  if (rows == 0 || cols == 0) return 0;
  const auto moments = static_cast<int64_t>(second_moments.size());
  if (moments % cols != 0 || moments / cols != cols) {
    throw Error(ErrorCode::usage, kOperation, fmt::format("{} second moments for {} columns", moments, cols),
                "columns x columns");
  }
  constexpr int64_t kRows = 96;
  std::vector<double> sums(static_cast<size_t>(rows));
  for_row_chunks(rows, kRows, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    if (n == 0) return;
    std::vector<float> error(static_cast<size_t>(n * cols)), product(error.size());
    dequantize_rows(quantized, begin, n, error.data());
    for (int64_t i = 0; i < n * cols; ++i) error[i] = matrix.data[begin * cols + i] - error[i];
    matmul(n, cols, cols, error.data(), cols, second_moments.data(), cols, product.data(), cols);
    for (int64_t r = 0; r < n; ++r) {
      double sum = 0;
      for (int64_t i = r * cols; i < (r + 1) * cols; ++i) sum += double{error[i]} * double{product[i]};
      sums[begin + r] = sum;
    }
  });
  double sum = 0;
  for (const double row : sums) sum += row;
  return sum;
}

}  // namespace mxq
