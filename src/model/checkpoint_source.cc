#include "model/checkpoint_source.h"

#include <fmt/format.h>

#include <set>

#include "format/weights.h"
#include "model/safetensors_source.h"
#include "mxq/error.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPlan = "mxq-plan.json";

}  // namespace

CheckpointSource::CheckpointSource(QuantizedFolder folder)
    : ModelSource(std::move(folder.path), std::move(folder.config)),
      config_json_(std::move(folder.config_json)),
      store_(std::move(folder.store)),
      made_(std::move(folder.made)) {
  std::set<std::string, std::less<>> parts;
  for (const auto& matrix : folder.matrices) parts.insert(matrix.parts.begin(), matrix.parts.end());
  std::vector<std::string> names;
  for (const TensorView& view : store_.tensors()) {
    if (!parts.contains(view.name)) names.push_back(view.name);
  }
  for (const auto& matrix : folder.matrices) names.push_back(matrix.name + ".weight");
  translate(names);
  for (const TensorView& view : store_.tensors()) {
    if (!parts.contains(view.name)) add(view.name, view.dtype, std::string(dtype_name(view.dtype)), view.shape);
  }
  for (auto& matrix : folder.matrices) {
    const QuantizedLayout layout = matrix.view.layout;
    const std::string name = matrix.name + ".weight";
    if (find(name) != nullptr) {
      throw Error(ErrorCode::invalid_file, "read " + path_.string(),
                  fmt::format("'{}' is there both quantized and as it was", name));
    }
    dtypes_.emplace(tensors().size(), matrix.dtype);
    int64_t bytes = 0;
    for (const auto& part : matrix.parts) bytes += static_cast<int64_t>(store_.find(part)->bytes.size());
    matrices_.emplace(std::piecewise_construct, std::forward_as_tuple(tensors().size()),
                      std::forward_as_tuple(std::move(matrix.view), bytes));
    add(name, DType::f32, layout.scheme.name(), {layout.rows, layout.cols});
  }
  add_copies(folder.copies);
}

void CheckpointSource::add_copies(const std::vector<std::pair<std::string, std::string>>& copies) {
  for (const auto& [name, original] : copies) {
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
  return config_json_;
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
  const auto found = matrices_.find(tensor.index);
  return found != matrices_.end() ? found->second.stored_bytes
                                  : static_cast<int64_t>(store_.find(tensor.stored_name)->bytes.size());
}

void CheckpointSource::done(const SourceTensor& tensor) const {
  if (const QuantizedView* matrix = quantized(tensor)) {
    for (const auto part : matrix->parts) advise_done(part);
  } else {
    advise_done(store_.find(held(tensor).stored_name)->bytes);
  }
}

}  // namespace mxq
