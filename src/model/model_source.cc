#include "model/model_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <system_error>

#include "base/atomic_file.h"
#include "format/safetensors.h"
#include "format/weights.h"
#include "model/gguf_names.h"
#include "mxq/error.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr float kLargestF16 = 65504;

bool is_block_dtype(DType dtype) {
  return dtype_block_elements(dtype) > 1;
}

bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

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

std::optional<MatrixName> parse_matrix_name(std::string_view name) {
  constexpr std::string_view prefix = "model.layers.", suffix = ".weight";
  static constexpr std::array<std::string_view, 9> projections{
      "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj"};
  if (!name.starts_with(prefix) || !name.ends_with(suffix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  name.remove_suffix(std::min(suffix.size(), name.size()));
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos || !is_number(name.substr(0, dot))) return std::nullopt;
  const std::string_view module = name.substr(dot + 1);

  const size_t last_dot = module.rfind('.');
  if (last_dot == std::string_view::npos) return std::nullopt;
  const std::string_view last = module.substr(last_dot + 1), parent = module.substr(0, last_dot);
  bool plannable = std::find(projections.begin(), projections.end(), last) != projections.end();
  if (last == "w1" || last == "w2" || last == "w3") {
    const size_t parent_dot = parent.rfind('.');
    plannable = parent_dot != std::string_view::npos && is_number(parent.substr(parent_dot + 1)) &&
                (parent.substr(0, parent_dot) == "experts" || parent.substr(0, parent_dot).ends_with(".experts"));
  }
  if (!plannable) return std::nullopt;
  return MatrixName{std::string(name.substr(0, dot)), std::string(module)};
}

int64_t SourceTensor::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

int64_t SourceTensor::rows() const {
  return shape.empty() ? 1 : shape.front();
}

const SourceTensor* ModelSource::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

const ModelSource::Origin& ModelSource::origin(const SourceTensor& tensor) const {
  return origins_.at(tensor.index);
}

void ModelSource::read(const SourceTensor& tensor, float* out) const {
  const auto& [view, head_rows] = origin(tensor);
  if (head_rows == 0) {
    read_f32(*view, 0, view->elements(), out);
  } else {
    read_rows(tensor, 0, tensor.rows(), out);
  }
}

void ModelSource::read_rows(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  const auto& [view, head_rows] = origin(tensor);
  const int64_t rows = tensor.rows();
  if (first < 0 || count < 0 || first > rows || count > rows - first) {
    throw Error(ErrorCode::usage, fmt::format("read tensor '{}'", tensor.name),
                fmt::format("{} rows from row {} on", count, first), fmt::format("{} rows in all", rows));
  }
  const int64_t columns = rows == 0 ? 0 : tensor.elements() / rows;
  if (head_rows == 0) return read_f32(*view, first * columns, count * columns, out);

  // A head at a time, as the file has it; then its rows in HF's order.
  std::vector<float> head(static_cast<size_t>(head_rows * columns));
  for (int64_t row = first; row < first + count;) {
    const int64_t begin = row / head_rows * head_rows;
    read_f32(*view, begin * columns, head_rows * columns, head.data());
    for (; row < std::min(begin + head_rows, first + count); ++row) {
      const int64_t from = gguf_row_of_hf_row(row, head_rows) - begin;
      std::copy_n(head.data() + from * columns, columns, out + (row - first) * columns);
    }
  }
}

std::optional<std::span<const std::byte>> ModelSource::plain_bytes(const SourceTensor& tensor) const {
  const auto& [view, head_rows] = origin(tensor);
  if (head_rows != 0 || is_block_dtype(view->dtype)) return std::nullopt;
  return view->bytes;
}

DType ModelSource::output_dtype(const SourceTensor& tensor) const {
  const TensorView& view = *origin(tensor).view;
  if (!is_block_dtype(view.dtype)) return view.dtype;
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = output_dtypes_.find(tensor.index); known != output_dtypes_.end()) return known->second;
  }
  constexpr int64_t chunk = 1 << 20;  // a multiple of every block
  std::vector<float> values(static_cast<size_t>(std::min(chunk, view.elements())));
  bool fits = true;
  for (int64_t begin = 0; fits && begin < view.elements(); begin += chunk) {
    const int64_t count = std::min(chunk, view.elements() - begin);
    read_f32(view, begin, count, values.data());
    // Infinities and NaN are the same in any dtype.
    fits = std::none_of(values.begin(), values.begin() + count,
                        [](float v) { return std::isfinite(v) && std::abs(v) > kLargestF16; });
  }
  const DType dtype = fits ? DType::f16 : DType::f32;
  const std::lock_guard lock(mutex_);
  output_dtypes_[tensor.index] = dtype;
  return dtype;
}

void ModelSource::done(const SourceTensor& tensor) const {
  advise_done(origin(tensor).view->bytes);
}

// --- opening ------------------------------------------------------------------------------------------------------

void ModelSource::add(const TensorView& view, std::string name, int64_t head_rows) {
  SourceTensor tensor;
  tensor.name = std::move(name);
  tensor.dtype = view.dtype;
  tensor.shape = view.shape;
  tensor.index = tensors_.size();
  if (view.shape.size() == 2 && view.elements() > 0 && dtype_is_weight(view.dtype)) {
    tensor.matrix = parse_matrix_name(tensor.name);
  }
  index_.emplace(tensor.name, tensor.index);
  tensors_.push_back(std::move(tensor));
  origins_.push_back({&view, head_rows});
}

void ModelSource::open_safetensors_model(const fs::path& path) {
  if (fs::is_directory(path)) {
    const fs::path file = path / "config.json";
    if (!fs::exists(file)) {
      throw Error(ErrorCode::not_found, "open " + path.string(), "the folder has no config.json");
    }
    config_ = parse_hf_config(read_file(file), file.string());
    if (!config_->quantization.empty()) {
      throw Error(ErrorCode::unsupported, "open " + path.string(),
                  fmt::format("the model is quantized already ({})", config_->quantization),
                  "F32, F16 or BF16 weights");
    }
  }
  store_ = open_safetensors(path);
  for (const TensorView& view : store_.tensors()) add(view, view.name, 0);
}

// Rows of a head of q and k where they are permuted, 0 for everything else.
int64_t ModelSource::permuted_head_rows(const TensorView& view) const {
  if (!gguf_permutes_rows(config_->architecture)) return 0;
  const bool q = view.name.ends_with(".attn_q.weight") || view.name.ends_with(".attn_q.bias");
  const bool k = view.name.ends_with(".attn_k.weight") || view.name.ends_with(".attn_k.bias");
  if (!q && !k) return 0;
  const int64_t heads = q ? config_->num_attention_heads : config_->num_key_value_heads;
  const int64_t rows = view.shape.empty() ? 0 : view.shape.front();
  int64_t expected = 0;
  if (__builtin_mul_overflow(heads, config_->head_dim, &expected) || rows != expected || config_->head_dim % 2 != 0) {
    throw Error(ErrorCode::invalid_file, "read " + gguf_->source,
                fmt::format("tensor '{}' has {} rows", view.name, rows),
                fmt::format("{} heads of {} rows, an even number", heads, config_->head_dim));
  }
  return config_->head_dim;
}

// Every tensor that the architecture cannot do without, in the shape that the configuration says.
void ModelSource::check_complete() const {
  const auto require = [&](const std::string& name, const std::vector<int64_t>& shape) {
    const SourceTensor* tensor = find(name);
    const std::string gguf_name = gguf_name_from_hf(name).value_or(name);
    if (!tensor) {
      throw Error(ErrorCode::invalid_file, "read " + gguf_->source, fmt::format("tensor '{}' is missing", gguf_name));
    }
    if (tensor->shape != shape) {
      throw Error(ErrorCode::invalid_file, "read " + gguf_->source,
                  fmt::format("tensor '{}' has shape [{}]", gguf_name, fmt::join(tensor->shape, ", ")),
                  fmt::format("[{}] by the metadata", fmt::join(shape, ", ")));
    }
  };
  const ModelConfig& c = *config_;
  const int64_t hidden = c.hidden_size, inner = c.intermediate_size;
  const int64_t query = c.num_attention_heads * c.head_dim, key = c.num_key_value_heads * c.head_dim;
  require("model.embed_tokens.weight", {c.vocab_size, hidden});
  require("model.norm.weight", {hidden});
  if (!c.tie_word_embeddings) require("lm_head.weight", {c.vocab_size, hidden});
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    const auto in_layer = [&](std::string_view module, const std::vector<int64_t>& shape) {
      require(fmt::format("model.layers.{}.{}.weight", layer, module), shape);
    };
    in_layer("input_layernorm", {hidden});
    in_layer("self_attn.q_proj", {query, hidden});
    in_layer("self_attn.k_proj", {key, hidden});
    in_layer("self_attn.v_proj", {key, hidden});
    in_layer("self_attn.o_proj", {hidden, query});
    in_layer("post_attention_layernorm", {hidden});
    in_layer("mlp.gate_proj", {inner, hidden});
    in_layer("mlp.up_proj", {inner, hidden});
    in_layer("mlp.down_proj", {hidden, inner});
  }
}

void ModelSource::open_gguf_model(const fs::path& path) {
  auto file = std::make_shared<const MappedFile>(path);
  gguf_ = parse_gguf(file->bytes(), path.string());
  if (const auto parts = gguf_->find_u32("split.count"); parts && *parts > 1) {
    throw Error(ErrorCode::unsupported, "read " + path.string(), fmt::format("one of {} parts of a GGUF", *parts),
                "whole files (llama-gguf-split --merge)");
  }
  config_ = gguf_config(*gguf_);
  store_.add(std::move(file), gguf_->tensors);
  for (const TensorView& view : store_.tensors()) {
    if (gguf_is_rope_table(view.name)) continue;
    auto name = hf_name_from_gguf(view.name);
    if (!name) {
      throw Error(ErrorCode::unsupported, "read " + path.string(),
                  fmt::format("tensor '{}'", gguf_printable(view.name)),
                  fmt::format("the tensors of {}", fmt::join(gguf_architectures(), ", ")));
    }
    add(view, *std::move(name), permuted_head_rows(view));
  }
  check_complete();
}

std::unique_ptr<ModelSource> open_model(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw Error(ErrorCode::not_found, "open " + path.string(), "no such file or folder");
  }
  std::unique_ptr<ModelSource> model(new ModelSource);
  model->path_ = path;
  if (path.extension() == ".gguf" && !fs::is_directory(path)) {
    model->open_gguf_model(path);
  } else if (fs::is_directory(path)) {
    const auto gguf = files_ending(path, ".gguf");
    const bool safetensors = !files_ending(path, ".safetensors").empty() || gguf.empty();
    if (safetensors) {
      model->open_safetensors_model(path);
    } else if (gguf.size() == 1) {
      model->open_gguf_model(gguf.front());
    } else {
      throw Error(ErrorCode::unsupported, "open " + path.string(),
                  fmt::format("the folder has {} .gguf files", gguf.size()), "one, or the path of a file");
    }
  } else if (path.extension() == ".safetensors") {
    model->open_safetensors_model(path);
  } else {
    throw Error(ErrorCode::unsupported, "open " + path.string(),
                fmt::format("a file ending in '{}'", path.extension().string()),
                "a folder with config.json and safetensors, .safetensors or .gguf");
  }
  return model;
}

}  // namespace mxq
