#include "model/checkpoint_source.h"

#include <fmt/format.h>

#include <set>

#include "base/parallel.h"
#include "format/weights.h"
#include "model/safetensors_source.h"
#include "mxq/error.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPlan = "mxq-plan.json";
constexpr const char* kGenai = "genai_config.json";  // of folders for onnxruntime: it speaks of the graph

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
    matrices_.emplace(tensors().size(), std::move(matrix));
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

const CheckpointSource::Matrix* CheckpointSource::quantized(const SourceTensor& tensor) const {
  const auto found = matrices_.find(held(tensor).index);
  return found == matrices_.end() ? nullptr : &found->second;
}

void CheckpointSource::check(const SourceTensor& tensor, const Matrix& matrix) const {
  if (matrix.checked) return;  // threads that come together all look
  check_numbers(held(tensor).stored_matrix_name(), matrix.in_folder.view);
  matrix.checked = true;
}

QuantizedMatrix CheckpointSource::made_rows(const SourceTensor& tensor, const Matrix& matrix, int64_t first,
                                            int64_t count) const {
  QuantizedMatrix rows = matrix.in_folder.make_rows(first, count);
  check_numbers(held(tensor).stored_matrix_name(), rows.view());
  return rows;
}

std::string CheckpointSource::config_json() const {
  return config_json_;
}

std::vector<std::pair<std::string, std::string>> CheckpointSource::side_files(std::vector<std::string>&) const {
  auto files = hf_side_files(path_);
  std::erase_if(files, [](const auto& file) { return file.first == kPlan || file.first == kGenai; });
  return files;
}

std::vector<fs::path> CheckpointSource::weight_files() const {
  return mapped_paths(store_);
}

void CheckpointSource::read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  const Matrix* const matrix = quantized(tensor);
  if (matrix == nullptr) {
    read_f32(*store_.find(held(tensor).stored_name), first * tensor.cols(), count * tensor.cols(), out);
    return;
  }
  if (!matrix->in_folder.make_rows) {
    check(tensor, *matrix);
    dequantize_rows(matrix->in_folder.view, first, count, out);
    return;
  }
  dequantize_matrix(made_rows(tensor, *matrix, first, count).view(), out);
  const std::vector<int64_t>& columns = matrix->in_folder.columns;
  if (columns.empty()) return;
  parallel_for(count, [&](int64_t r) {
    float* const row = out + r * tensor.cols();
    const std::vector<float> made(row, row + columns.size());
    for (size_t i = 0; i < columns.size(); ++i) row[columns[i]] = made[i];
  });
}

std::optional<std::span<const std::byte>> CheckpointSource::plain_bytes(const SourceTensor& tensor) const {
  if (quantized(tensor) != nullptr) return std::nullopt;
  return store_.find(held(tensor).stored_name)->bytes;
}

DType CheckpointSource::output_dtype(const SourceTensor& tensor) const {
  const Matrix* const matrix = quantized(tensor);
  return matrix != nullptr ? matrix->in_folder.dtype : tensor.dtype;
}

/// No layout has columns of one group apart from each other.
std::optional<QuantizedLayout> CheckpointSource::exact_layout(const SourceTensor& tensor) const {
  const Matrix* const matrix = quantized(tensor);
  if (matrix == nullptr || !matrix->in_folder.columns.empty()) return std::nullopt;
  return matrix->in_folder.view.layout;
}

QuantizedMatrix CheckpointSource::exact_groups(const SourceTensor& tensor) const {
  const Matrix& matrix = *quantized(tensor);
  if (matrix.in_folder.make_rows) return made_rows(tensor, matrix, 0, tensor.rows());
  check(tensor, matrix);
  return QuantizedMatrix(matrix.in_folder.view);
}

void CheckpointSource::hash(const SourceTensor& tensor, ContentHash& hash) const {
  hash.add(tensor.stored_as);
  const Matrix* const matrix = quantized(tensor);
  if (matrix == nullptr) {
    hash.add(store_.find(held(tensor).stored_name)->bytes);
    return;
  }
  const QuantizedView& view = matrix->in_folder.view;
  hash.add(fmt::format("axis{} {}", view.layout.axis, metadata_name(view.layout.metadata)));
  for (const auto part : view.parts) hash.add(part);
  if (!matrix->in_folder.make_rows) return;
  hash.add(matrix->in_folder.how);
  for (const auto& part : matrix->in_folder.parts) hash.add(store_.find(part)->bytes);
}

int64_t CheckpointSource::stored_bytes(const SourceTensor& tensor) const {
  if (copies_.contains(tensor.index)) return 0;
  const Matrix* const matrix = quantized(tensor);
  if (matrix == nullptr) return static_cast<int64_t>(store_.find(tensor.stored_name)->bytes.size());
  int64_t bytes = 0;
  for (const auto& part : matrix->in_folder.parts) bytes += static_cast<int64_t>(store_.find(part)->bytes.size());
  return bytes;
}

void CheckpointSource::done(const SourceTensor& tensor) const {
  if (const Matrix* const matrix = quantized(tensor)) {
    for (const auto& part : matrix->in_folder.parts) advise_done(store_.find(part)->bytes);
  } else {
    advise_done(store_.find(held(tensor).stored_name)->bytes);
  }
}

}  // namespace mxq
