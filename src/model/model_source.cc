#include "model/model_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "format/compressed_tensors_config.h"
#include "format/hf_config.h"
#include "format/weights.h"
#include "model/arch/architecture.h"
#include "model/checkpoint_source.h"
#include "model/gguf_source.h"
#include "model/layer_tensors.h"
#include "model/model_files.h"
#include "model/onnx_graph.h"
#include "model/safetensors_source.h"
#include "model/torch_model.h"
#include "model/torch_source.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kLayerPrefix = "model.layers.";

// N of "model.layers.N....".
std::optional<int64_t> layer_of(std::string_view name) {
  if (!name.starts_with(kLayerPrefix)) return std::nullopt;
  name.remove_prefix(kLayerPrefix.size());
  return layer_number(name.substr(0, name.find('.')));
}

// Whether the decoder reads the tensor of a layer.
bool uses(const ModelConfig& config, int64_t layer, std::string_view name) {
  if (name.ends_with(".rotary_emb.inv_freq")) return true;  // of older files; the configuration says the same
  name.remove_prefix(kLayerPrefix.size());
  name.remove_prefix(std::min(name.find('.'), name.size() - 1) + 1);
  if (const auto whole = find_layer_tensor(config, layer, name)) return whole->tensor->hf_ending.empty();
  const size_t dot = std::min(name.rfind('.'), name.size());
  const auto tensor = find_layer_tensor(config, layer, name.substr(0, dot));
  if (!tensor) return false;
  if (name.substr(dot) == tensor->tensor->hf_ending) return true;
  return name.substr(dot) == ".bias" && tensor->is_matrix() && config.has_bias(tensor->tensor->part);
}

}  // namespace

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

namespace {

std::string without_weight(const std::string& name) {
  constexpr std::string_view suffix = ".weight";
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : name;
}

}  // namespace

std::string SourceTensor::matrix_name() const {
  return without_weight(name);
}

std::string SourceTensor::stored_matrix_name() const {
  return without_weight(stored_name);
}

bool ModelSource::reads(const SourceTensor& tensor) const {
  if (!config_ || find_architecture(config_->architecture) == nullptr) return false;
  if (const auto layer = layer_of(tensor.name)) {
    return *layer < config_->num_hidden_layers && uses(*config_, *layer, tensor.name);
  }
  return tensor.name == "model.embed_tokens.weight" || tensor.name == "model.norm.weight" ||
         tensor.name == "lm_head.weight";
}

const SourceTensor* ModelSource::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

Error not_finite(const SourceTensor& tensor, double value, int64_t row, int64_t column) {
  return {ErrorCode::not_finite, "read weights",
          fmt::format("'{}' holds {} at row {}, column {}", tensor.name, value, row, column), "finite numbers"};
}

void ModelSource::read_rows(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  copy_rows(tensor, first, count, out);
  const int64_t cols = tensor.cols(), at = first_not_finite(out, count * cols);
  if (at >= 0) throw not_finite(tensor, out[at], first + at / cols, at % cols);
}

void ModelSource::copy_rows(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  const int64_t rows = tensor.rows();
  if (first < 0 || count < 0 || first > rows || count > rows - first) {
    throw Error(ErrorCode::usage, fmt::format("read tensor '{}'", tensor.name),
                fmt::format("{} rows from row {} on", count, first), fmt::format("{} rows in all", rows));
  }
  read_range(tensor, first, count, out);
}

void ModelSource::translate(const std::vector<std::string>& stored_names) {
  names_ = TextNames(stored_names, config_ && config_->tie_word_embeddings);
}

std::vector<std::string> ModelSource::notes() const {
  std::vector<std::string> notes;
  int64_t outside = 0, last_layer = -1;
  std::vector<std::string> unused;
  const Architecture* architecture = config_ ? find_architecture(config_->architecture) : nullptr;
  for (const SourceTensor& tensor : tensors_) {
    const auto layer = layer_of(tensor.name);
    if (!layer) {
      outside += !tensor.name.starts_with("model.embed_tokens.") && !tensor.name.starts_with("lm_head.") &&
                 tensor.name != "model.norm.weight";
      continue;
    }
    last_layer = std::max(last_layer, *layer);
    if (architecture != nullptr && *layer < config_->num_hidden_layers && !uses(*config_, *layer, tensor.name)) {
      unused.push_back(tensor.stored_name);
    }
  }
  if (names_.prefix() != "model.") {
    notes.push_back(fmt::format("the text model's tensors are found under '{}'; {} tensors beside it stay as they are",
                                names_.prefix(), outside));
  }
  if (architecture == nullptr) return notes;
  if (last_layer >= config_->num_hidden_layers) {
    notes.push_back(
        fmt::format("the file has layers up to {}, num_hidden_layers is {}: those behind the last are not "
                    "used and stay as they are",
                    last_layer, config_->num_hidden_layers));
  }
  if (!unused.empty()) {
    notes.push_back(
        fmt::format("the layers have {} tensors, such as '{}', that {} does not use by its configuration; "
                    "they stay as they are",
                    unused.size(), unused.front(), config_->architecture));
  }
  return notes;
}

void ModelSource::add(std::string name, DType dtype, std::string stored_as, std::vector<int64_t> shape) {
  SourceTensor tensor;
  tensor.name = names_.canonical(name);
  tensor.stored_name = std::move(name);
  tensor.dtype = dtype;
  tensor.stored_as = std::move(stored_as);
  tensor.shape = std::move(shape);
  tensor.index = tensors_.size();
  tensor.role = tensor_role(tensor.name, tensor.shape);
  const bool plannable =
      tensor.role == TensorRole::matrix || tensor.role == TensorRole::embedding || tensor.role == TensorRole::head;
  if (plannable && tensor.elements() > 0 && dtype_is_weight(dtype)) tensor.matrix = parse_matrix_name(tensor.name);
  if (config_ && find_architecture(config_->architecture) != nullptr) {
    const auto layer = layer_of(tensor.name);
    if ((layer && *layer >= config_->num_hidden_layers) || is_multi_token(tensor.name)) tensor.matrix.reset();
  }
  if (!index_.emplace(tensor.name, tensor.index).second) {
    throw Error(ErrorCode::invalid_file, "read " + path().string(), fmt::format("two tensors hold '{}'", tensor.name),
                "one");
  }
  index_.emplace(tensor.stored_name, tensor.index);
  tensors_.push_back(std::move(tensor));
}

namespace {

std::unique_ptr<ModelSource> open_folder(const fs::path& path) {
  if (files_ending(path, ".safetensors").empty()) {
    if (holds_torch_model(path)) return std::make_unique<TorchSource>(path, open_torch_folder(path));
    if (const auto gguf = only_gguf(path)) return std::make_unique<GgufSource>(MappedFile(*gguf));
    if (fs::exists(path / kOnnxFile) && !files_ending(path, kOnnxDataEnding).empty()) {
      return std::make_unique<CheckpointSource>(open_onnx_folder(path));
    }
    refuse_folder(path);
  }
  const fs::path config = path / "config.json";
  if (!fs::exists(config)) {
    if (fs::exists(path / "adapter_config.json") || fs::exists(path / "model_index.json")) refuse_folder(path);
    throw Error(ErrorCode::not_found, "open " + path.string(), "the folder has no config.json",
                "config.json beside the weights, or the path of one .safetensors file");
  }
  const std::string text = read_file(config);
  if (const auto quantization = get_quantization_config(text, config.string())) {
    return std::make_unique<CheckpointSource>(open_checkpoint(path, *quantization));
  }
  if (names_compressed_tensors(text, config.string())) {
    QuantizedFolder folder = open_compressed_tensors(path);
    if (!folder.matrices.empty()) return std::make_unique<CheckpointSource>(std::move(folder));
  }
  for (const auto& open : {open_gptq_folder, open_awq_folder}) {
    std::optional<QuantizedFolder> folder = open(path);
    if (folder && !folder->matrices.empty()) return std::make_unique<CheckpointSource>(std::move(*folder));
  }
  if (const auto quantization = get_mlx_quantization(text, config.string())) {
    QuantizedFolder folder = open_mlx_folder(path, *quantization);
    if (!folder.matrices.empty()) return std::make_unique<CheckpointSource>(std::move(folder));
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
  MappedFile file = map_model_file(path);
  const auto kind = kind_of_file(file);
  if (!kind) refuse_file(path);
  if (*kind == FileKind::gguf) return std::make_unique<GgufSource>(std::move(file));
  if (*kind == FileKind::torch) return std::make_unique<TorchSource>(path, open_torch_file(path));
  return std::make_unique<SafetensorsSource>(std::make_shared<const MappedFile>(std::move(file)));
}

}  // namespace mxq
