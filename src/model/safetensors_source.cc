#include "model/safetensors_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "format/hf_config.h"
#include "format/safetensors.h"
#include "format/weights.h"
#include "model/arch/architecture.h"
#include "model/gguf_groups.h"
#include "model/matrix_names.h"
#include "model/model_files.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfig = "config.json";

/// The last part of a linear layer's name: quantized files keep several tensors under it.
bool is_projection(std::string_view name) {
  static constexpr std::array<std::string_view, 16> others{"w1",
                                                           "w2",
                                                           "w3",
                                                           "fc1",
                                                           "fc2",
                                                           "dense",
                                                           "query_key_value",
                                                           "dense_h_to_4h",
                                                           "dense_4h_to_h",
                                                           "c_attn",
                                                           "c_fc",
                                                           "lm_head",
                                                           "embed_tokens",
                                                           "embed_out",
                                                           "wte",
                                                           "experts"};
  return name.find("proj") != std::string_view::npos || std::find(others.begin(), others.end(), name) != others.end();
}

/// The name of the linear layer to which a tensor belongs ("model.layers.0.mlp.up_proj" of its "weight_scale"); empty
/// where there is none.
std::string owning_matrix(const std::string& name) {
  for (size_t dot = name.rfind('.'); dot != std::string::npos && dot > 0; dot = name.rfind('.', dot - 1)) {
    const std::string module = name.substr(0, dot);
    if (!is_projection(std::string_view(module).substr(module.rfind('.') + 1))) continue;
    if (parse_matrix_name(module + ".weight")) return module;
  }
  return {};
}

bool holds_codes(const SourceTensor& tensor) {
  switch (tensor.dtype) {
    case DType::f64:
    case DType::f32:
    case DType::f16:
    case DType::bf16:
    case DType::boolean:
    case DType::i64:  // positions and the like: no format keeps codes in so many bits
      return false;
    default:
      return tensor.elements() > 0 && !owning_matrix(tensor.name).empty();
  }
}

/// What config.json says about quantized weights: " (quantization_config: fp8)".
std::string said_quantization(const std::string& config_json) {
  using Json = nlohmann::json;
  const Json whole = Json::parse(config_json, nullptr, /*allow_exceptions=*/false);
  for (const char* part : {"", "text_config"}) {
    if (!whole.is_object() || (*part != 0 && !whole.contains(part))) continue;
    const Json& config = *part == 0 ? whole : whole[part];
    if (!config.is_object()) continue;
    for (const char* key : {"quantization_config", "compression_config", "quantization"}) {
      const auto found = config.find(key);
      if (found == config.end() || !found->is_object() || found->empty()) continue;
      for (const char* field : {"quant_method", "format", "quant_algo", "bits"}) {
        if (!found->contains(field)) continue;
        const Json& value = (*found)[field];
        const std::string text = value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true);
        return fmt::format(" ({}: {}{})", key, field == std::string_view("bits") ? "bits " : "", text.substr(0, 60));
      }
      return fmt::format(" ({})", key);
    }
  }
  return " (config.json does not say how)";
}

/// Whether the model needs a tensor that its index names and no shard holds.
bool is_needed(const std::string& name, const std::optional<ModelConfig>& config) {
  const auto matrix = parse_matrix_name(name);
  if (matrix && matrix->module == kHead) return !config || !config->tie_word_embeddings;
  const size_t layers = name.find("layers.");
  if (config && layers != std::string::npos) {
    const size_t number = layers + std::string_view("layers.").size();
    const auto layer = parse_int(name.substr(number, name.find('.', number) - number));
    if (layer && *layer >= config->num_hidden_layers) return false;
  }
  return name.ends_with(".weight") || !owning_matrix(name).empty();
}

/// Weights in any of the formats that people keep beside each other in one folder, and what belongs to them.
bool holds_weights(const std::string& name) {
  static constexpr std::array<std::string_view, 13> endings{".safetensors", ".safetensors.index.json",
                                                            ".bin",         ".bin.index.json",
                                                            ".gguf",        ".pth",
                                                            ".pt",          ".ckpt",
                                                            ".h5",          ".msgpack",
                                                            ".onnx",        ".onnx.data",
                                                            ".onnx_data"};
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view e) { return name.ends_with(e); });
}

StoredModel of_one(std::shared_ptr<const MappedFile> file) {
  StoredModel model;
  auto tensors = read_safetensors(*file);
  model.add(std::move(file), std::move(tensors));
  return model;
}

/// The files of a folder whose weights have neither an index nor the usual name are read as they are.
StoredModel open_safetensors_folder(const fs::path& folder) {
  if (fs::exists(folder / "model.safetensors") || fs::exists(folder / "model.safetensors.index.json")) {
    return open_safetensors_model(folder);
  }
  StoredModel model;
  for (const fs::path& name : unindexed_weights(folder)) {
    auto file = std::make_shared<const MappedFile>(name);
    auto tensors = read_safetensors(*file);
    model.add(std::move(file), std::move(tensors));
  }
  return model;
}

StoredModel open_weights(const fs::path& folder) {
  StoredModel model = open_safetensors_folder(folder);
  for (const char* other : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (!fs::exists(folder / other)) continue;
    model.notes.push_back(fmt::format("{} lies beside the safetensors: it is not read, as in transformers", other));
    break;
  }
  return model;
}

/// Under the name that published files have, of a model that was saved under transformers 5's own.
std::string published_name(const std::string& name, const std::optional<ModelConfig>& config) {
  const Architecture* const known = config ? find_architecture(config->architecture) : nullptr;
  if (known == nullptr || known->newer_module.empty()) return name;
  const std::string module = fmt::format(".{}", known->newer_module);
  const size_t at = name.find(module);
  if (at == std::string::npos) return name;
  const std::string before = name.substr(0, at);
  if (!layer_number(std::string_view(before).substr(before.rfind('.') + 1))) return name;
  return fmt::format("{}.{}{}", before, known->published_module, name.substr(at + module.size()));
}

}  // namespace

SafetensorsSource::SafetensorsSource(const fs::path& folder) : SafetensorsSource(folder, read_file(folder / kConfig)) {}

SafetensorsSource::SafetensorsSource(const fs::path& folder, std::string config_json)
    : SafetensorsSource(folder, parse_hf_config(config_json, (folder / kConfig).string()), config_json,
                        open_weights(folder)) {}

SafetensorsSource::SafetensorsSource(std::shared_ptr<const MappedFile> file)
    : SafetensorsSource(file->path(), std::nullopt, std::nullopt, of_one(file)) {}

SafetensorsSource::SafetensorsSource(const fs::path& path, std::optional<ModelConfig> config,
                                     std::optional<std::string> config_json, StoredModel files)
    : ModelSource(path, std::move(config)),
      config_json_(std::move(config_json)),
      store_(std::move(files.store)),
      notes_(std::move(files.notes)) {
  for (const auto& [name, place] : files.absent) {
    if (is_needed(name, config_)) files.refuse_absent(name);
    notes_.push_back(fmt::format("the index names '{}', which no shard holds and the model does not need", name));
  }
  std::vector<std::string> names;
  for (const TensorView& view : store_.tensors()) names.push_back(view.name);
  translate(names);
  for (const TensorView& view : store_.tensors()) {
    const bool whole = !files.strides.contains(view.name);
    auto parts = config_ && whole ? stacked_tensors(view, store_, *config_, path.string()) : std::nullopt;
    if (parts) {
      for (StackedTensor& part : *parts) {
        views_.push_back(&view);
        const auto& found = stacked_.emplace(tensors().size(), std::move(part)).first->second;
        add(found.name, found.dtype(), std::string(dtype_name(found.is_mxfp4() ? DType::mxfp4 : found.dtype())),
            found.shape);
      }
      continue;
    }
    views_.push_back(&view);
    add(published_name(view.name, config_), view.dtype, std::string(dtype_name(view.dtype)), view.shape);
    if (holds_codes(tensors().back())) {
      throw Error(ErrorCode::unsupported, "open " + path.string(),
                  fmt::format("the weights are quantized already: '{}' is {}{}", view.name, dtype_name(view.dtype),
                              said_quantization(SafetensorsSource::config_json())),
                  "F64, F32, F16 or BF16 weights");
    }
  }
  if (config_ && !config_->quantization.empty() && !has_mxfp4()) {
    notes_.push_back(fmt::format("{} says that the weights are quantized ({}); they are not, and are read as they are",
                                 kConfig, config_->quantization));
  }
}

bool SafetensorsSource::has_mxfp4() const {
  return std::any_of(stacked_.begin(), stacked_.end(), [](const auto& part) { return part.second.is_mxfp4(); });
}

const StackedTensor* SafetensorsSource::stacked(const SourceTensor& tensor) const {
  const auto found = stacked_.find(tensor.index);
  return found == stacked_.end() ? nullptr : &found->second;
}

std::string SafetensorsSource::config_json() const {
  if (!config_json_) return "{}";
  // What it says of MXFP4 is no longer so.
  return has_mxfp4() ? set_quantization_config(*config_json_, std::nullopt, (path_ / kConfig).string()) : *config_json_;
}

std::vector<std::string> SafetensorsSource::notes() const {
  std::vector<std::string> notes = notes_;
  const auto of_tensors = ModelSource::notes();
  notes.insert(notes.end(), of_tensors.begin(), of_tensors.end());
  return notes;
}

std::vector<std::pair<std::string, std::string>> SafetensorsSource::side_files(std::vector<std::string>&) const {
  if (!config_) return {};
  return hf_side_files(path_);
}

std::vector<fs::path> SafetensorsSource::weight_files() const {
  return mapped_paths(store_);
}

void SafetensorsSource::read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  if (const StackedTensor* part = stacked(tensor)) return part->read_rows(first, count, out);
  read_f32(view(tensor), first * tensor.cols(), count * tensor.cols(), out);
}

std::optional<std::span<const std::byte>> SafetensorsSource::plain_bytes(const SourceTensor& tensor) const {
  if (stacked(tensor) != nullptr) return std::nullopt;
  return view(tensor).bytes;
}

std::optional<QuantizedLayout> SafetensorsSource::exact_layout(const SourceTensor& tensor) const {
  const StackedTensor* const part = stacked(tensor);
  if (part == nullptr || !part->is_mxfp4()) return std::nullopt;
  return exact_ggml_layout(DType::mxfp4, tensor.rows(), tensor.cols());
}

QuantizedMatrix SafetensorsSource::exact_groups(const SourceTensor& tensor) const {
  return stacked(tensor)->groups();
}

void SafetensorsSource::hash(const SourceTensor& tensor, ContentHash& hash) const {
  hash.add(tensor.stored_as);
  const StackedTensor* const part = stacked(tensor);
  if (part == nullptr) return hash.add(view(tensor).bytes);
  hash.add(fmt::format("{} {} of {}{}", part->first, part->step, part->parts, part->transposed ? " transposed" : ""));
  hash.add(part->part.bytes);
  hash.add(part->scales.bytes);
}

int64_t SafetensorsSource::stored_bytes(const SourceTensor& tensor) const {
  const StackedTensor* const part = stacked(tensor);
  if (part == nullptr) return static_cast<int64_t>(view(tensor).bytes.size());
  return static_cast<int64_t>(part->part.bytes.size() + part->scales.bytes.size()) / part->parts;
}

void SafetensorsSource::done(const SourceTensor& tensor) const {
  const StackedTensor* const part = stacked(tensor);
  if (part == nullptr) return advise_done(view(tensor).bytes);
  advise_done(part->part.bytes);
  advise_done(part->scales.bytes);
}

std::vector<std::pair<std::string, std::string>> hf_side_files(
    const fs::path& folder, const std::function<bool(const std::string& name)>& belongs) {
  std::vector<std::pair<std::string, std::string>> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!entry->is_regular_file() || name == kConfig || name.starts_with('.') || holds_weights(name)) continue;
    if (belongs && !belongs(name)) continue;
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
