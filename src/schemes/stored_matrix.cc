#include "schemes/stored_matrix.h"

#include <fmt/format.h>

#include <array>

#include "mxq/error.h"

namespace mxq {

namespace {

struct Part {
  const char* suffix;
  std::span<const std::byte> QuantizedView::*bytes;
};

constexpr std::array kParts{
    Part{".codes", &QuantizedView::codes},           Part{".scale_steps", &QuantizedView::scale_steps},
    Part{".zero_steps", &QuantizedView::zero_steps}, Part{".scales", &QuantizedView::scales},
    Part{".zeros", &QuantizedView::zeros},           Part{".column_scales", &QuantizedView::column_scales},
};

/// One spec a part, in the order of kParts; parts that the layout lacks have no name.
std::array<TensorSpec, kParts.size()> all_specs(const std::string& name, const QuantizedLayout& layout) {
  const bool q8 = layout.metadata == Metadata::q8;
  const DType scale = q8 ? DType::u8 : layout.metadata == Metadata::f16 ? DType::f16 : DType::f32;
  const DType zero = q8 ? DType::i8 : scale;
  std::array<TensorSpec, kParts.size()> specs{{
      {"", DType::u8, {layout.code_bytes()}},
      {"", DType::f16, {layout.step_bytes() / 2}},
      {"", DType::f16, {layout.step_bytes() / 2}},
      {"", scale, {layout.groups()}},
      {"", zero, {layout.groups()}},
      {"", DType::f16, {layout.cols}},
  }};
  for (size_t i = 0; i < specs.size(); ++i) {
    const bool step = specs[i].dtype == DType::f16 && (i == 1 || i == 2);
    const bool absent = (step && !q8) || (i + 1 == specs.size() && !layout.has_column_scales);
    if (!absent) specs[i].name = name + kParts[i].suffix;
  }
  return specs;
}

}  // namespace

std::vector<TensorSpec> stored_specs(const std::string& name, const QuantizedLayout& layout) {
  std::vector<TensorSpec> specs;
  for (auto& spec : all_specs(name, layout)) {
    if (!spec.name.empty()) specs.push_back(std::move(spec));
  }
  return specs;
}

std::vector<std::span<const std::byte>> stored_parts(const QuantizedView& matrix) {
  std::vector<std::span<const std::byte>> parts;
  const auto specs = all_specs("matrix", matrix.layout);
  for (size_t i = 0; i < kParts.size(); ++i) {
    if (!specs[i].name.empty()) parts.push_back(matrix.*kParts[i].bytes);
  }
  return parts;
}

QuantizedLayout stored_layout(const QuantizationConfig& config, const QuantizationConfig::Matrix& matrix) {
  try {
    return {matrix.rows,
            matrix.cols,
            parse_scheme(matrix.scheme),
            matrix.axis.value_or(config.axis),
            parse_metadata(matrix.metadata.value_or(config.metadata)),
            matrix.column_scales,
            matrix.rotated};
  } catch (const Error& e) {  // names that come from a file are not wrong usage
    throw Error(ErrorCode::invalid_file, fmt::format("read checkpoint: '{}'", matrix.name), e.given(), e.supported());
  }
}

QuantizedView stored_view(const std::string& name, const QuantizedLayout& layout, const TensorStore& store) {
  QuantizedView view{layout, {}, {}, {}, {}, {}, {}};
  const auto specs = all_specs(name, layout);
  for (size_t i = 0; i < kParts.size(); ++i) {
    if (specs[i].name.empty()) continue;
    const TensorView* tensor = store.find(specs[i].name);
    if (tensor == nullptr) {
      throw Error(ErrorCode::invalid_file, "read checkpoint", fmt::format("tensor '{}' is missing", specs[i].name));
    }
    if (tensor->dtype != specs[i].dtype || tensor->shape != specs[i].shape) {
      throw Error(
          ErrorCode::invalid_file, "read checkpoint",
          fmt::format("tensor '{}' is {} of {} elements", specs[i].name, dtype_name(tensor->dtype), tensor->elements()),
          fmt::format("{} of {} for {} of a {} x {} matrix", dtype_name(specs[i].dtype), specs[i].shape[0],
                      layout.scheme.name(), layout.rows, layout.cols));
    }
    view.*kParts[i].bytes = tensor->bytes;
  }
  return view;
}

}  // namespace mxq
