#include "model/model_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "format/hf_config.h"
#include "model/checkpoint_source.h"
#include "model/gguf_source.h"
#include "model/safetensors_source.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

std::vector<fs::path> files_ending(const fs::path& folder, std::string_view extension) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == extension) found.push_back(entry->path());
  }
  if (error) throw Error(ErrorCode::io, "read folder " + folder.string(), error.message());
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

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
  const auto gguf = files_ending(path, ".gguf");
  if (files_ending(path, ".safetensors").empty() && !gguf.empty()) {
    if (gguf.size() == 1) return std::make_unique<GgufSource>(gguf.front());
    throw Error(ErrorCode::unsupported, "open " + path.string(),
                fmt::format("the folder has {} .gguf files", gguf.size()), "one, or the path of a file");
  }
  const fs::path config = path / "config.json";
  if (!fs::exists(config)) {
    throw Error(ErrorCode::not_found, "open " + path.string(), "the folder has no config.json");
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
  if (path.extension() == ".gguf") return std::make_unique<GgufSource>(path);
  if (path.extension() == ".safetensors") return std::make_unique<SafetensorsSource>(path);
  throw Error(ErrorCode::unsupported, "open " + path.string(),
              fmt::format("a file ending in '{}'", path.extension().string()),
              "a folder with config.json and safetensors, .safetensors or .gguf");
}

}  // namespace mxq
