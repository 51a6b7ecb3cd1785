#include "model/model_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "format/hf_config.h"
#include "model/checkpoint_source.h"
#include "model/gguf_source.h"
#include "model/model_files.h"
#include "model/safetensors_source.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {

namespace fs = std::filesystem;

void ModelSource::hash_all(ContentHash& hash) const {
  for (const SourceTensor& tensor : tensors()) this->hash(tensor, hash);
  hash.add(config_json());
}

int64_t SourceTensor::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

int64_t SourceTensor::rows() const {
  return shape.empty() ? 1 : shape.front();
}

int64_t SourceTensor::cols() const {
  int64_t count = 1;
  for (size_t i = 1; i < shape.size(); ++i) count *= shape[i];
  return count;
}

std::string SourceTensor::matrix_name() const {
  constexpr std::string_view suffix = ".weight";
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : name;
}

const SourceTensor* ModelSource::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void ModelSource::read_rows(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  const int64_t rows = tensor.rows();
  if (first < 0 || count < 0 || first > rows || count > rows - first) {
    throw Error(ErrorCode::usage, fmt::format("read tensor '{}'", tensor.name),
                fmt::format("{} rows from row {} on", count, first), fmt::format("{} rows in all", rows));
  }
  read_range(tensor, first, count, out);
}

void ModelSource::add(std::string name, DType dtype, std::string stored_as, std::vector<int64_t> shape) {
  SourceTensor tensor;
  tensor.name = std::move(name);
  tensor.dtype = dtype;
  tensor.stored_as = std::move(stored_as);
  tensor.shape = std::move(shape);
  tensor.index = tensors_.size();
  tensor.role = tensor_role(tensor.name, tensor.shape);
  const bool plannable = tensor.role == TensorRole::matrix || tensor.role == TensorRole::embedding ||
                         tensor.role == TensorRole::head;
  if (plannable && tensor.elements() > 0 && dtype_is_weight(dtype)) tensor.matrix = parse_matrix_name(tensor.name);
  index_.emplace(tensor.name, tensor.index);
  tensors_.push_back(std::move(tensor));
}

namespace {

std::unique_ptr<ModelSource> open_folder(const fs::path& path) {
  if (files_ending(path, ".safetensors").empty()) {
    if (const auto gguf = only_gguf(path)) return std::make_unique<GgufSource>(*gguf);
    refuse_folder(path);
  }
  const fs::path config = path / "config.json";
  if (!fs::exists(config)) {
    if (fs::exists(path / "adapter_config.json") || fs::exists(path / "model_index.json")) refuse_folder(path);
    throw Error(ErrorCode::not_found, "open " + path.string(), "the folder has no config.json",
                "config.json beside the weights, or the path of one .safetensors file");
  }
  if (auto quantization = get_quantization_config(read_file(config), config.string())) {
    return std::make_unique<CheckpointSource>(path, *std::move(quantization));
  }
  return std::make_unique<SafetensorsSource>(path);
}

}  // namespace

std::unique_ptr<ModelSource> open_model(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw Error(ErrorCode::not_found, "open " + path.string(), "no such file or folder");
  }
  if (fs::is_directory(path)) return open_folder(path);
  const auto kind = kind_of_file(path);
  if (!kind) refuse_file(path);
  if (*kind == FileKind::gguf) return std::make_unique<GgufSource>(path);
  return std::make_unique<SafetensorsSource>(path);
}

}  // namespace mxq
