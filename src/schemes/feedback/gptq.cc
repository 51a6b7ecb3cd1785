#include "schemes/feedback/gptq.h"

#include <fmt/format.h>

#include <string_view>
#include <vector>

#include "mxq/error.h"
#include "schemes/family.h"
#include "schemes/normalize/normalize.h"
#include "schemes/validate.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "quantize matrix by GPTQ";

void check_options(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options) {
  const SchemeFamily& family = family_of(scheme.family);
  if (!family.takes_feedback()) {
    std::vector<std::string_view> known;
    for (const SchemeFamily* f : all_families()) {
      if (f->takes_feedback()) known.push_back(f->name());
    }
    throw Error(ErrorCode::unsupported, kOperation, fmt::format("scheme {}", scheme.name()),
                fmt::format("schemes of {}", fmt::join(known, ", ")));
  }
  family.check(scheme, options.axis, options.metadata, kOperation);
  check_shape(matrix.rows, matrix.cols, kOperation);
  check_columns(scheme, matrix.cols, kOperation);
  if (options.axis != 1) {
    throw Error(ErrorCode::unsupported, kOperation, fmt::format("axis {}", options.axis), "1");
  }
  if (options.fit != Fit::gptq && options.fit != Fit::mse) {
    throw Error(ErrorCode::unsupported, kOperation, fmt::format("fit {}", fit_name(options.fit)), "gptq, mse");
  }
}

}  // namespace

QuantizedMatrix quantize_matrix_gptq(MatrixView matrix, const FeedbackFactor& factor, const Scheme& scheme,
                                     const QuantizeOptions& options, double* damping) {
  check_options(matrix, scheme, options);
  check_finite(matrix, kOperation);
  if (damping != nullptr) *damping = factor.damping();
  if (factor.cols() != matrix.cols) {
    throw Error(ErrorCode::usage, kOperation,
                fmt::format("second moments of {} columns for {}", factor.cols(), matrix.cols), "the same");
  }
  if (factor.ordered_groups() != 0 && factor.ordered_groups() != scheme.group) {
    throw Error(ErrorCode::usage, kOperation, fmt::format("columns in order by groups of {}", factor.ordered_groups()),
                fmt::format("groups of {} for {}", scheme.group, scheme.name()));
  }
  if (lies_on_grid(matrix, scheme, options)) {
    QuantizeOptions nearest = options;  // what is lost is the metadata's rounding alone: nothing to feed back
    nearest.fit = Fit::mse;
    return quantize_matrix(matrix, scheme, nearest);
  }
  const NormalizedMatrix normalized = normalize_matrix(matrix, options.normalize, scheme.group);
  QuantizedMatrix out = normalized_output(normalized, scheme, options);
  if (matrix.size() == 0) return out;
  const SchemeFamily& family = family_of(scheme.family);
  switch (options.normalize) {
    case Normalize::none:
      family.code_matrix(matrix, factor, out);
      break;
    case Normalize::columns:
    case Normalize::sinq:
      family.code_matrix(normalized.view, factor.scaled(normalized.scales), out);
      break;
    case Normalize::rotation: {
      const FeedbackFactor rotated = factor.rotated(normalized.scales);
      if (damping != nullptr) *damping += rotated.damping();
      family.code_matrix(normalized.view, rotated, out);
      break;
    }
  }
  return out;
}

QuantizedMatrix quantize_matrix_gptq(MatrixView matrix, std::span<const float> second_moments, const Scheme& scheme,
                                     const QuantizeOptions& options, const GptqOptions& gptq) {
  check_options(matrix, scheme, options);
  check_finite(matrix, kOperation);
  return quantize_matrix_gptq(matrix, FeedbackFactor(second_moments, matrix.cols, gptq), scheme, options);
}

}  // namespace mxq
