#include "model/safetensors_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "format/safetensors.h"
#include "format/weights.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfig = "config.json";

std::optional<ModelConfig> folder_config(const fs::path& path) {
  if (!fs::is_directory(path)) return {};
  const fs::path file = path / kConfig;
  auto config = parse_hf_config(read_file(file), file.string());
  if (!config.quantization.empty()) {
    throw Error(ErrorCode::unsupported, "open " + path.string(),
                fmt::format("the model is quantized already ({})", config.quantization), "F32, F16 or BF16 weights");
  }
  return config;
}

/// Weights in any of the formats that people keep beside each other in one folder, and what belongs to them.
bool holds_weights(const std::string& name) {
  static constexpr std::array<std::string_view, 9> endings{
      ".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".gguf", ".pth", ".pt", ".h5", ".msgpack"};
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view e) { return name.ends_with(e); });
}

}  // namespace

SafetensorsSource::SafetensorsSource(const fs::path& path)
    : ModelSource(path, folder_config(path)), store_(open_safetensors(path)) {
  std::vector<std::string> names;
  for (const TensorView& view : store_.tensors()) names.push_back(view.name);
  translate(names);
  for (const TensorView& view : store_.tensors()) {
    add(view.name, view.dtype, std::string(dtype_name(view.dtype)), view.shape);
  }
}

std::string SafetensorsSource::config_json() const {
  return config_ ? read_file(path_ / kConfig) : "{}";
}

std::vector<std::pair<std::string, std::string>> SafetensorsSource::side_files(std::vector<std::string>&) const {
  if (!config_) return {};
  return hf_side_files(path_);
}

std::vector<fs::path> SafetensorsSource::weight_files() const {
  return mapped_paths(store_);
}

void SafetensorsSource::read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  read_f32(store_.tensors()[tensor.index], first * tensor.cols(), count * tensor.cols(), out);
}

std::optional<std::span<const std::byte>> SafetensorsSource::plain_bytes(const SourceTensor& tensor) const {
  return store_.tensors()[tensor.index].bytes;
}

void SafetensorsSource::hash(const SourceTensor& tensor, ContentHash& hash) const {
  hash.add(tensor.stored_as);
  hash.add(store_.tensors()[tensor.index].bytes);
}

int64_t SafetensorsSource::stored_bytes(const SourceTensor& tensor) const {
  return static_cast<int64_t>(store_.tensors()[tensor.index].bytes.size());
}

void SafetensorsSource::done(const SourceTensor& tensor) const {
  advise_done(store_.tensors()[tensor.index].bytes);
}

std::vector<std::pair<std::string, std::string>> hf_side_files(const fs::path& folder) {
  std::vector<std::pair<std::string, std::string>> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!entry->is_regular_file() || name == kConfig || name.starts_with('.') || holds_weights(name)) continue;
    files.emplace_back(name, read_file(entry->path()));
  }
  if (error) throw Error(ErrorCode::io, "read folder " + folder.string(), error.message());
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<fs::path> mapped_paths(const TensorStore& store) {
  std::vector<fs::path> paths;
  for (const auto& file : store.files()) paths.push_back(file->path());
  return paths;
}

}  // namespace mxq
