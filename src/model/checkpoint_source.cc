#include "model/checkpoint_source.h"

#include <fmt/format.h>

#include <set>

#include "format/safetensors.h"
#include "format/weights.h"
#include "model/safetensors_source.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfig = "config.json";
constexpr const char* kPlan = "mxq-plan.json";

std::optional<ModelConfig> plain_config(const fs::path& folder) {
  const std::string file = (folder / kConfig).string();
  const std::string plain = set_quantization_config(read_file(file), std::nullopt, file);
  // A bare .safetensors file has no configuration, nor has a checkpoint made from it.
  if (plain == set_quantization_config("{}", std::nullopt, file)) return {};
  return parse_hf_config(plain, file);
}

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

CheckpointSource::CheckpointSource(const fs::path& folder, const QuantizationConfig& quantization)
    : ModelSource(folder, plain_config(folder)), store_(open_safetensors(folder)) {
  std::set<std::string, std::less<>> parts;
  for (const auto& matrix : quantization.matrices) {
    for (const auto& spec : stored_specs(matrix.name, stored_layout(quantization, matrix))) parts.insert(spec.name);
  }
  std::vector<std::string> names;
  for (const TensorView& view : store_.tensors()) {
    if (!parts.contains(view.name)) names.push_back(view.name);
  }
  for (const auto& matrix : quantization.matrices) names.push_back(matrix.name + ".weight");
  translate(names);
  for (const TensorView& view : store_.tensors()) {
    if (!parts.contains(view.name)) add(view.name, view.dtype, std::string(dtype_name(view.dtype)), view.shape);
  }
  const DType usual = usual_dtype(quantization, folder);
  for (const auto& matrix : quantization.matrices) {
    const QuantizedLayout layout = stored_layout(quantization, matrix);
    const std::string name = matrix.name + ".weight";
    if (find(name) != nullptr) {
      throw Error(ErrorCode::invalid_file, "read " + folder.string(),
                  fmt::format("'{}' is there both quantized and as it was", name));
    }
    dtypes_.emplace(tensors().size(), matrix.dtype ? original_dtype(*matrix.dtype, folder) : usual);
    matrices_.emplace(tensors().size(), stored_view(matrix.name, layout, store_));
    add(name, DType::f32, layout.scheme.name(), {matrix.rows, matrix.cols});
  }
  add_copies(quantization);
}

void CheckpointSource::add_copies(const QuantizationConfig& quantization) {
  for (const auto& [name, original] : quantization.copies) {
    const SourceTensor* const found = find(original);
    if (find(name) != nullptr || found == nullptr || copies_.contains(found->index)) {
      throw Error(ErrorCode::invalid_file, "read " + path_.string(),
                  fmt::format("'{}' is a copy of '{}'", name, original),
                  "a name that no tensor has, and the name of a tensor that is there");
    }
    copies_.emplace(tensors().size(), found->index);
    add(name, found->dtype, std::string(found->stored_as), std::vector<int64_t>(found->shape));
  }
}

const SourceTensor& CheckpointSource::held(const SourceTensor& tensor) const {
  const auto found = copies_.find(tensor.index);
  return found == copies_.end() ? tensor : tensors()[found->second];
}

const SourceTensor* CheckpointSource::copy_of(const SourceTensor& tensor) const {
  return copies_.contains(tensor.index) ? &held(tensor) : nullptr;
}

const QuantizedView* CheckpointSource::quantized(const SourceTensor& tensor) const {
  const auto found = matrices_.find(held(tensor).index);
  return found == matrices_.end() ? nullptr : &found->second.view;
}

const QuantizedView* CheckpointSource::checked(const SourceTensor& tensor) const {
  const SourceTensor& original = held(tensor);
  const auto found = matrices_.find(original.index);
  if (found == matrices_.end()) return nullptr;
  const Matrix& matrix = found->second;
  if (!matrix.checked) {  // threads that come together all look
    check_numbers(original.stored_matrix_name(), matrix.view);
    matrix.checked = true;
  }
  return &matrix.view;
}

std::string CheckpointSource::config_json() const {
  const std::string file = (path_ / kConfig).string();
  return set_quantization_config(read_file(file), std::nullopt, file);
}

std::vector<std::pair<std::string, std::string>> CheckpointSource::side_files(std::vector<std::string>&) const {
  auto files = hf_side_files(path_);
  std::erase_if(files, [](const auto& file) { return file.first == kPlan; });
  return files;
}

std::vector<fs::path> CheckpointSource::weight_files() const {
  return mapped_paths(store_);
}

void CheckpointSource::read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  const QuantizedView* matrix = checked(tensor);
  if (matrix == nullptr) {
    read_f32(*store_.find(held(tensor).stored_name), first * tensor.cols(), count * tensor.cols(), out);
  } else {
    dequantize_rows(*matrix, first, count, out);
  }
}

std::optional<std::span<const std::byte>> CheckpointSource::plain_bytes(const SourceTensor& tensor) const {
  if (quantized(tensor) != nullptr) return std::nullopt;
  return store_.find(held(tensor).stored_name)->bytes;
}

DType CheckpointSource::output_dtype(const SourceTensor& tensor) const {
  const auto found = dtypes_.find(tensor.index);
  return found != dtypes_.end() ? found->second : tensor.dtype;
}

std::optional<QuantizedLayout> CheckpointSource::exact_layout(const SourceTensor& tensor) const {
  const QuantizedView* matrix = quantized(tensor);
  return matrix != nullptr ? std::optional(matrix->layout) : std::nullopt;
}

QuantizedMatrix CheckpointSource::exact_groups(const SourceTensor& tensor) const {
  return QuantizedMatrix(*checked(tensor));
}

void CheckpointSource::hash(const SourceTensor& tensor, ContentHash& hash) const {
  hash.add(tensor.stored_as);
  if (const QuantizedView* matrix = quantized(tensor)) {
    hash.add(fmt::format("axis{} {}", matrix->layout.axis, metadata_name(matrix->layout.metadata)));
    for (const auto part : matrix->parts) hash.add(part);
  } else {
    hash.add(store_.find(held(tensor).stored_name)->bytes);
  }
}

int64_t CheckpointSource::stored_bytes(const SourceTensor& tensor) const {
  if (copies_.contains(tensor.index)) return 0;
  const QuantizedView* matrix = quantized(tensor);
  return matrix != nullptr ? matrix->layout.total_bytes()
                           : static_cast<int64_t>(store_.find(held(tensor).stored_name)->bytes.size());
}

void CheckpointSource::done(const SourceTensor& tensor) const {
  if (const QuantizedView* matrix = quantized(tensor)) {
    for (const auto part : matrix->parts) advise_done(part);
  } else {
    advise_done(store_.find(held(tensor).stored_name)->bytes);
  }
}

}  // namespace mxq
