#include "schemes/stored_matrix.h"

#include <fmt/format.h>

#include "format/weights.h"
#include "mxq/error.h"
#include "schemes/family.h"
#include "schemes/validate.h"

namespace mxq {

std::vector<TensorSpec> stored_specs(const std::string& name, const QuantizedLayout& layout) {
  std::vector<TensorSpec> specs;
  for (const PartSpec& part : layout.parts()) {
    specs.push_back({fmt::format("{}.{}", name, part.name), part.dtype, {part.elements}});
  }
  return specs;
}

QuantizedLayout stored_layout(const QuantizationConfig& config, const QuantizationConfig::Matrix& matrix) {
  try {
    const QuantizedLayout layout{matrix.rows,
                                 matrix.cols,
                                 parse_scheme(matrix.scheme),
                                 matrix.axis.value_or(config.axis),
                                 parse_metadata(matrix.metadata.value_or(config.metadata)),
                                 matrix.column_scales,
                                 matrix.rotated};
    family_of(layout.scheme.family).check(layout.scheme, layout.axis, layout.metadata, "read checkpoint");
    check_columns(layout.scheme, layout.cols, "read checkpoint");
    return layout;
  } catch (const Error& e) {  // names that come from a file are not wrong usage
    throw Error(ErrorCode::invalid_file, fmt::format("read checkpoint: '{}'", matrix.name), e.given(), e.supported());
  }
}

QuantizedView stored_view(const std::string& name, const QuantizedLayout& layout, const TensorStore& store) {
  QuantizedView view{layout, {}};
  for (const TensorSpec& spec : stored_specs(name, layout)) {
    const TensorView* tensor = store.find(spec.name);
    if (tensor == nullptr) {
      throw Error(ErrorCode::invalid_file, "read checkpoint", fmt::format("tensor '{}' is missing", spec.name));
    }
    if (tensor->dtype != spec.dtype || tensor->shape != spec.shape) {
      throw Error(
          ErrorCode::invalid_file, "read checkpoint",
          fmt::format("tensor '{}' is {} of {} elements", spec.name, dtype_name(tensor->dtype), tensor->elements()),
          fmt::format("{} of {} for {} of a {} x {} matrix", dtype_name(spec.dtype), spec.shape[0],
                      layout.scheme.name(), layout.rows, layout.cols));
    }
    view.parts.push_back(tensor->bytes);
  }
  return view;
}

void check_numbers(const std::string& name, const QuantizedView& matrix) {
  const auto specs = stored_specs(name, matrix.layout);
  for (size_t i = 0; i < specs.size(); ++i) {
    const TensorSpec& spec = specs[i];
    const int64_t at = first_not_finite(matrix.parts[i].data(), spec.shape.front(), spec.dtype);
    if (at < 0) continue;
    float value = 0;
    read_f32({spec.name, spec.dtype, spec.shape, matrix.parts[i]}, at, 1, &value);
    throw Error(ErrorCode::not_finite, "read checkpoint", fmt::format("'{}' holds {} at {}", spec.name, value, at),
                "finite numbers");
  }
}

}  // namespace mxq
