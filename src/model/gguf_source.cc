#include "model/gguf_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "format/ggml_blocks.h"
#include "format/weights.h"
#include "model/arch/architecture.h"
#include "model/gguf_groups.h"
#include "model/gguf_names.h"
#include "model/layer_tensors.h"
#include "model/tokenizer/spec_tokenizer.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer_files.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr float kLargestF16 = 65504;
constexpr std::string_view kAnyExpert = "{}";

}  // namespace

GgufSource::GgufSource(MappedGguf opened)
    : ModelSource(opened.files.front().path(), std::nullopt),
      files_(std::move(opened.files)),
      gguf_(std::move(opened.model)) {
  config_ = gguf_config(gguf_);
  const Architecture& architecture = *find_architecture(config_->architecture);
  for (const TensorView& view : gguf_.tensors) {
    if (gguf_is_rope_table(view.name)) continue;
    auto name = hf_name_from_gguf(architecture, view.name);
    if (!name) {
      throw Error(ErrorCode::unsupported, "read " + gguf_.source, fmt::format("tensor {}", in_quotes(view.name)),
                  "those of " + config_->architecture);
    }
    if (name->find(kAnyExpert) != std::string::npos) {
      add_experts(*name, view);
      continue;
    }
    std::vector<int64_t> shape = view.shape;
    // A matrix of one row, which the converter writes as a vector.
    if (shape.size() == 1 && view.name.ends_with(".ffn_gate_inp_shexp.weight")) shape.insert(shape.begin(), 1);
    add(*std::move(name), view.dtype, std::string(dtype_name(view.dtype)), std::move(shape));
    origins_.push_back({view, permuted_head_rows(view), holds_plus_one(view)});
  }
  check_complete();
}

// The matrices or biases of all experts of a layer, one behind the other.
void GgufSource::add_experts(const std::string& name, const TensorView& view) {
  const int64_t experts = config_->mixture.experts;
  const bool biases = name.ends_with(".bias");
  if (view.shape.size() != (biases ? 2 : 3) || view.shape[0] != experts) {
    throw Error(ErrorCode::invalid_file, "read " + gguf_.source,
                fmt::format("tensor '{}' has shape [{}]", view.name, fmt::join(view.shape, ", ")),
                fmt::format("a {} for each of {} experts", biases ? "bias" : "matrix", experts));
  }
  const size_t bytes = view.bytes.size() / static_cast<size_t>(experts);
  for (int64_t expert = 0; expert < experts; ++expert) {
    TensorView part = view;
    part.shape.erase(part.shape.begin());
    part.bytes = view.bytes.subspan(static_cast<size_t>(expert) * bytes, bytes);
    std::string one = name;
    one.replace(one.find(kAnyExpert), kAnyExpert.size(), std::to_string(expert));
    add(std::move(one), part.dtype, std::string(dtype_name(part.dtype)), part.shape);
    origins_.push_back({std::move(part), 0, false});
  }
}

std::vector<fs::path> GgufSource::weight_files() const {
  std::vector<fs::path> paths;
  for (const MappedFile& file : files_) paths.push_back(file.path());
  return paths;
}

// Rows of a head of q and k where they are permuted, 0 for everything else.
int64_t GgufSource::permuted_head_rows(const TensorView& view) const {
  if (!find_architecture(config_->architecture)->gguf_permutes_rows) return 0;
  const bool q = view.name.ends_with(".attn_q.weight") || view.name.ends_with(".attn_q.bias");
  const bool k = view.name.ends_with(".attn_k.weight") || view.name.ends_with(".attn_k.bias");
  if (!q && !k) return 0;
  const int64_t heads = q ? config_->num_attention_heads : config_->num_key_value_heads;
  const int64_t rows = view.shape.empty() ? 0 : view.shape.front();
  int64_t expected = 0;
  if (__builtin_mul_overflow(heads, config_->head_dim, &expected) || rows != expected || config_->head_dim % 2 != 0) {
    throw Error(ErrorCode::invalid_file, "read " + gguf_.source,
                fmt::format("tensor '{}' has {} rows", view.name, rows),
                fmt::format("{} heads of {} rows, an even number", heads, config_->head_dim));
  }
  return config_->head_dim;
}

// llama.cpp's converter adds the 1 of norms that multiply by 1 + w to every tensor of such a name.
bool GgufSource::holds_plus_one(const TensorView& view) const {
  return find_architecture(config_->architecture)->norm == Norm::rms_plus_one && view.name.ends_with("norm.weight");
}

// Every tensor that the architecture cannot do without, in the shape that the configuration says.
void GgufSource::check_complete() const {
  const Architecture& architecture = *find_architecture(config_->architecture);
  const auto require = [&](const std::string& name, const std::vector<int64_t>& shape) {
    const SourceTensor* tensor = find(name);
    const std::string gguf_name = gguf_name_from_hf(architecture, name).value_or(name);
    if (!tensor) {
      throw Error(ErrorCode::invalid_file, "read " + gguf_.source, fmt::format("tensor '{}' is missing", gguf_name));
    }
    if (tensor->shape != shape) {
      throw Error(ErrorCode::invalid_file, "read " + gguf_.source,
                  fmt::format("tensor '{}' has shape [{}]", gguf_name, fmt::join(tensor->shape, ", ")),
                  fmt::format("[{}] by the metadata", fmt::join(shape, ", ")));
    }
  };
  const ModelConfig& c = *config_;
  const int64_t hidden = c.hidden_size;
  require("model.embed_tokens.weight", {c.vocab_size, hidden});
  require("model.norm.weight", {hidden});
  if (!c.tie_word_embeddings) require("lm_head.weight", {c.vocab_size, hidden});
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    for (const NamedTensor& named : layer_tensors(c, layer)) {
      const LayerTensor& tensor = *named.tensor;
      const auto shape = tensor_shape(c, tensor);
      const std::string module = fmt::format("model.layers.{}.{}", layer, named.hf);
      require(module + std::string(tensor.hf_ending), shape);
      const bool of_mixture = tensor.of_expert() || tensor.part == LayerPart::router;
      if (of_mixture && c.has_bias(tensor.part)) require(module + ".bias", {shape.front()});
    }
  }
}

std::string GgufSource::config_json() const {
  return hf_config_json(*config_, DType::f16);
}

std::vector<std::string> GgufSource::notes() const {
  std::vector<std::string> notes = ModelSource::notes();
  if (std::string remark = word_rule_remark(gguf_); !remark.empty()) notes.push_back(std::move(remark));
  return notes;
}

std::unique_ptr<Tokenizer> GgufSource::open_tokenizer() const {
  return std::make_unique<SpecTokenizer>(tokenizer_spec(gguf_));
}

std::vector<std::pair<std::string, std::string>> GgufSource::side_files(std::vector<std::string>& notes) const {
  TokenizerFiles rebuilt;
  try {
    rebuilt = tokenizer_files(gguf_);
  } catch (const Error& error) {  // the weights are none the worse for it
    notes.push_back(fmt::format("no tokenizer files: {}", error.what()));
  }
  notes.insert(notes.end(), rebuilt.notes.begin(), rebuilt.notes.end());
  return {rebuilt.files.begin(), rebuilt.files.end()};
}

void GgufSource::read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  const auto& [view, head_rows, plus_one] = origin(tensor);
  const int64_t columns = tensor.cols();
  if (head_rows == 0) {
    read_f32(view, first * columns, count * columns, out);
    // Exact for 1 + w from 0.5 on.
    for (int64_t i = 0; plus_one && i < count * columns; ++i) out[i] -= 1;
    return;
  }

  // A head at a time, as the file has it; then its rows in HF's order.
  std::vector<float> head(static_cast<size_t>(head_rows * columns));
  for (int64_t row = first; row < first + count;) {
    const int64_t begin = row / head_rows * head_rows;
    read_f32(view, begin * columns, head_rows * columns, head.data());
    for (; row < std::min(begin + head_rows, first + count); ++row) {
      const int64_t from = gguf_row_of_hf_row(row, head_rows) - begin;
      std::copy_n(head.data() + from * columns, columns, out + (row - first) * columns);
    }
  }
}

std::optional<std::span<const std::byte>> GgufSource::plain_bytes(const SourceTensor& tensor) const {
  const auto& [view, head_rows, plus_one] = origin(tensor);
  if (head_rows != 0 || plus_one || is_ggml_block(view.dtype)) return std::nullopt;
  return view.bytes;
}

DType GgufSource::output_dtype(const SourceTensor& tensor) const {
  if (origin(tensor).plus_one) return DType::f32;  // as it is computed
  const TensorView& view = origin(tensor).view;
  if (!is_ggml_block(view.dtype)) return view.dtype;
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
  done(tensor);
  const DType dtype = fits ? DType::f16 : DType::f32;
  const std::lock_guard lock(mutex_);
  output_dtypes_[tensor.index] = dtype;
  return dtype;
}

std::optional<QuantizedLayout> GgufSource::exact_layout(const SourceTensor& tensor) const {
  const auto& [view, head_rows, plus_one] = origin(tensor);
  if (head_rows != 0 || plus_one || tensor.shape.size() != 2) return std::nullopt;
  return exact_ggml_layout(view.dtype, tensor.rows(), tensor.cols());
}

QuantizedMatrix GgufSource::exact_groups(const SourceTensor& tensor) const {
  const TensorView& view = origin(tensor).view;
  return exact_ggml_groups(view.dtype, *exact_layout(tensor), view.bytes);
}

void GgufSource::hash(const SourceTensor& tensor, ContentHash& hash) const {
  const auto& [view, head_rows, plus_one] = origin(tensor);
  hash.add(fmt::format("{} {}", tensor.stored_as, head_rows));
  if (plus_one) hash.add("1 + w");
  hash.add(view.bytes);
}

int64_t GgufSource::stored_bytes(const SourceTensor& tensor) const {
  return static_cast<int64_t>(origin(tensor).view.bytes.size());
}

void GgufSource::done(const SourceTensor& tensor) const {
  advise_done(origin(tensor).view.bytes);
}

}  // namespace mxq
