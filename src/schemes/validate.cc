#include "schemes/validate.h"

#include <fmt/format.h>

#include "format/weights.h"
#include "mxq/error.h"
#include "schemes/family.h"

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

void check_columns(const Scheme& scheme, int64_t cols, const char* operation) {
  const int64_t block = family_of(scheme.family).block_columns();
  if (cols % block == 0) return;
  throw Error(ErrorCode::unsupported, operation, fmt::format("rows of {} weights for {}", cols, scheme.name()),
              fmt::format("whole blocks of {}", block));
}

void check_finite(MatrixView matrix, const char* operation) {
  const int64_t i = first_not_finite(matrix.data, matrix.size());
  if (i < 0) return;
  throw Error(ErrorCode::not_finite, operation,
              fmt::format("{} at row {}, column {}", matrix.data[i], i / matrix.cols, i % matrix.cols),
              "finite weights");
}

}  // namespace mxq
