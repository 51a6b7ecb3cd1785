#include "model/packed_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "format/hf_config.h"
#include "format/json_fields.h"
#include "format/safetensors.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

/// Far beyond any model's; products of two stay numbers.
constexpr int64_t kMostRows = int64_t{1} << 31;
constexpr std::string_view kCodes = ".qweight";

}  // namespace

std::string shape_text(const TensorView& view) {
  return fmt::format("{}", fmt::join(view.shape, " x "));
}

const TensorView* PackedTensors::find(std::string_view ending) const {
  return store_.find(name_ + std::string(ending));
}

const TensorView& PackedTensors::matrix(std::string_view ending) const {
  const TensorView& view = in_two_dimensions(ending);
  if (view.dtype != DType::i32) refuse_dtype(view, "I32");
  return view;
}

const TensorView& PackedTensors::scales(std::string_view ending) const {
  const TensorView& view = in_two_dimensions(ending);
  if (view.dtype != DType::f16 && view.dtype != DType::bf16 && view.dtype != DType::f32) {
    refuse_dtype(view, "F16, BF16 or F32");
  }
  return view;
}

const TensorView& PackedTensors::in_two_dimensions(std::string_view ending) const {
  const TensorView* const view = find(ending);
  if (view == nullptr) missing(ending);
  if (view->shape.size() != 2) {
    refuse(ErrorCode::unsupported, fmt::format("'{}' has {} dimensions", view->name, view->shape.size()),
           "2: stacks of experts are not read");
  }
  for (const int64_t extent : view->shape) {
    if (extent < 1 || extent > kMostRows) wrong_shape(*view, "extents of 1 to 2^31");
  }
  return *view;
}

void PackedTensors::missing(std::string_view ending) const {
  throw Error(ErrorCode::invalid_file, operation_, fmt::format("tensor '{}{}' is missing", name_, ending));
}

void PackedTensors::refuse(ErrorCode code, std::string given, std::string allowed) const {
  throw Error(code, operation_, std::move(given), std::move(allowed));
}

void PackedTensors::refuse_dtype(const TensorView& view, const char* allowed) const {
  refuse(ErrorCode::unsupported, fmt::format("'{}' is {}", view.name, dtype_name(view.dtype)), allowed);
}

void PackedTensors::wrong_shape(const TensorView& view, const char* allowed) const {
  refuse(ErrorCode::invalid_file, fmt::format("'{}' is {}", view.name, shape_text(view)), allowed);
}

std::optional<TensorStore> open_packed_tensors(const fs::path& folder, const std::string& config_json,
                                               std::string_view method, const char* own, bool& own_says_it) {
  const auto json = parse_json_object(config_json, (folder / "config.json").string());
  const auto said = json.find("quantization_config");
  own_says_it = said == json.end();
  if (own_says_it ? !fs::exists(folder / own)
                  : !said->is_object() || said->value("quant_method", nlohmann::ordered_json()) != method) {
    return {};
  }
  TensorStore store = open_safetensors(folder);
  const bool packed = std::any_of(store.tensors().begin(), store.tensors().end(),
                                  [](const TensorView& view) { return view.name.ends_with(kCodes); });
  return packed ? std::optional(std::move(store)) : std::nullopt;
}

QuantizedFolder packed_folder(const fs::path& folder, const std::string& config_json, TensorStore store,
                              const std::string& how, const std::function<PackedColumns(const PackedTensors&)>& read) {
  const std::string file = (folder / "config.json").string(), operation = "read " + folder.string();
  QuantizedFolder result;
  result.path = folder;
  result.store = std::move(store);
  result.config_json = set_quantization_config(config_json, std::nullopt, file);
  result.config = parse_hf_config(result.config_json, file);
  for (const TensorView& view : result.store.tensors()) {
    if (!view.name.ends_with(kCodes)) continue;
    const std::string name = view.name.substr(0, view.name.size() - kCodes.size());
    auto matrix = std::make_shared<const PackedColumns>(read(PackedTensors(result.store, name, operation)));
    auto& added = result.matrices.emplace_back();
    added.name = name;
    added.view.layout = packed_columns_layout(*matrix);
    added.columns = columns_in_order(*matrix);
    added.how = how + (matrix->symmetric ? " symmetric" : "");
    added.dtype = matrix->scales.dtype;
    for (const char* ending : {".qweight", ".qzeros", ".scales", ".g_idx"}) {
      const TensorView* const part = result.store.find(name + ending);
      if (part != nullptr) added.parts.push_back(part->name);
    }
    added.make_rows = [matrix, name, operation](int64_t first, int64_t count) {
      return read_packed_columns(*matrix, first, count, name, operation);
    };
  }
  return result;
}

}  // namespace mxq
