#include "schemes/magnitude.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "mxq/error.h"
#include "schemes/family.h"
#include "schemes/normalize/normalize.h"
#include "schemes/validate.h"

namespace mxq {

namespace {

constexpr float kUsualLeast = 0x1p-10f, kUsualMost = 0x1p12f;
/// More than this times the error at a magnitude of 1, and this part of the weights' norm, is lost.
constexpr double kTolerance = 1.1, kNegligible = 1e-3;

double error_of(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options) {
  return quantized_error_norm(matrix, normalize_matrix(matrix, scheme, options), scheme, options);
}

}  // namespace

void check_magnitude(MatrixView matrix, std::span<const Scheme> schemes, const QuantizeOptions& options,
                     const std::string& operation) {
  float largest = 0;
  for (int64_t i = 0; i < matrix.size(); ++i) largest = std::max(largest, std::fabs(matrix.data[i]));
  if (!(largest > 0) || !std::isfinite(largest) || (largest >= kUsualLeast && largest <= kUsualMost)) return;
  int exponent = 0;
  std::frexp(largest, &exponent);
  std::vector<float> scaled(static_cast<size_t>(matrix.size()));
  double norm = 0;
  for (size_t i = 0; i < scaled.size(); ++i) {
    scaled[i] = std::ldexp(matrix.data[i], -exponent);
    norm += static_cast<double>(scaled[i]) * scaled[i];
  }
  norm = std::sqrt(norm);
  for (const Scheme& scheme : schemes) {
    const double usual = error_of({scaled.data(), matrix.rows, matrix.cols}, scheme, options);
    const double here = std::ldexp(error_of(matrix, scheme, options), -exponent);
    if (here <= kTolerance * usual + kNegligible * norm) continue;
    throw Error(
        ErrorCode::unsupported, operation,
        fmt::format("weights of {:.3g} at most, of which {} with metadata {} would lose {:.3g} % ({:.3g} % at a "
                    "magnitude of 1)",
                    largest, scheme.name(), metadata_name(options.metadata), 100 * here / norm, 100 * usual / norm),
        options.metadata == Metadata::f32 ? "weights of a magnitude nearer to 1" : "metadata f32");
  }
}

}  // namespace mxq
