// What an mxq checkpoint says of its tensors (docs/reference/checkpoint.md).
#include <fmt/format.h>

#include "format/safetensors.h"
#include "model/checkpoint_source.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfig = "config.json";

DType original_dtype(const std::string& name, const fs::path& folder) {
  for (const DType dtype : {DType::f64, DType::f32, DType::f16, DType::bf16}) {
    if (dtype_name(dtype) == name) return dtype;
  }
  throw Error(ErrorCode::invalid_file, "read " + folder.string(), fmt::format("dtype '{}' of quantized weights", name),
              "F64, F32, F16, BF16");
}

/// Older checkpoints do not say it.
DType usual_dtype(const QuantizationConfig& quantization, const fs::path& folder) {
  if (!quantization.dtype.empty()) return original_dtype(quantization.dtype, folder);
  const std::string file = (folder / kConfig).string();
  const std::string said = get_torch_dtype(read_file(file), file);
  return said == "float32" ? DType::f32 : said == "bfloat16" ? DType::bf16 : DType::f16;
}

}  // namespace

QuantizedFolder open_checkpoint(const fs::path& folder, const QuantizationConfig& quantization) {
  const std::string file = (folder / kConfig).string();
  QuantizedFolder result;
  result.path = folder;
  result.config_json = set_quantization_config(read_file(file), std::nullopt, file);
  // A bare .safetensors file has no configuration, nor has a checkpoint made from it.
  if (result.config_json != set_quantization_config("{}", std::nullopt, file)) {
    result.config = parse_hf_config(result.config_json, file);
  }
  result.store = open_safetensors(folder);
  const DType usual = usual_dtype(quantization, folder);
  for (const auto& matrix : quantization.matrices) {
    const QuantizedLayout layout = stored_layout(quantization, matrix);
    auto& added = result.matrices.emplace_back();
    added.name = matrix.name;
    added.view = stored_view(matrix.name, layout, result.store);
    for (const auto& spec : stored_specs(matrix.name, layout)) added.parts.push_back(spec.name);
    added.dtype = matrix.dtype ? original_dtype(*matrix.dtype, folder) : usual;
  }
  result.copies = quantization.copies;
  return result;
}

}  // namespace mxq
