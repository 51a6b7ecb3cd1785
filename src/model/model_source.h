// Any model that mxq can read, as tensors with Hugging Face's names and row order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"
#include "format/tensor_store.h"
#include "model/config.h"
#include "mxq/tensor.h"

namespace mxq {

/// Where a plannable matrix sits: "0" and "self_attn.q_proj" of "model.layers.0.self_attn.q_proj.weight".
struct MatrixName {
  std::string layer, module;
};

/// The projections of attention and MLP inside model.layers.N: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj,
/// down_proj, the fused qkv_proj and gate_up_proj, and experts' w1, w2, w3. nullopt for all other names.
std::optional<MatrixName> parse_matrix_name(std::string_view tensor_name);

/// A tensor of a model, in HF order.
struct SourceTensor {
  std::string name;            // "model.layers.0.self_attn.q_proj.weight"
  DType dtype = DType::f32;    // as stored
  std::vector<int64_t> shape;  // row-major; a matrix is [out_features, in_features]
  /// Set if the tensor is a plannable matrix: 2-D, not empty, of weights, and named so.
  std::optional<MatrixName> matrix;
  size_t index = 0;  // in ModelSource::tensors()

  int64_t elements() const;
  int64_t rows() const;  // the first dimension; 1 for a scalar
};

/// An opened model. Reading is thread-safe.
class ModelSource {
 public:
  ModelSource(const ModelSource&) = delete;
  ModelSource& operator=(const ModelSource&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// HF's model_type ("llama"); empty for a .safetensors file alone.
  std::string architecture() const { return config_ ? config_->architecture : ""; }
  /// nullopt for a .safetensors file alone.
  const std::optional<ModelConfig>& config() const { return config_; }
  /// The metadata where the model is a GGUF file (tokenizer_files needs them), else null.
  const GgufFile* gguf() const { return gguf_ ? &*gguf_ : nullptr; }

  /// In the files' order.
  const std::vector<SourceTensor>& tensors() const { return tensors_; }
  /// Null where there is none of that name.
  const SourceTensor* find(std::string_view name) const;

  /// elements() floats. Throws Error(unsupported) naming the tensor if its dtype is no weight's.
  void read(const SourceTensor& tensor, float* out) const;
  /// Rows [first, first + count). Throws Error(usage) for a range outside the tensor.
  void read_rows(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const;

  /// The bytes as an HF checkpoint holds them, where they can be copied unchanged: no GGUF block type, no permuted
  /// rows. Empty optional otherwise: read() and write_dtype() to output_dtype().
  std::optional<std::span<const std::byte>> plain_bytes(const SourceTensor& tensor) const;
  /// The dtype in an HF checkpoint of a tensor that is not quantized: its own if that is plain. GGUF blocks become F16,
  /// or F32 if that would make a value infinite; the first call for such a tensor reads all of it.
  DType output_dtype(const SourceTensor& tensor) const;
  /// The tensor will not be read again: its pages need not stay in memory.
  void done(const SourceTensor& tensor) const;

 private:
  friend std::unique_ptr<ModelSource> open_model(const std::filesystem::path& path);
  // Where a tensor comes from: its view, and the rows of a head if those are permuted (else 0).
  struct Origin {
    const TensorView* view = nullptr;
    int64_t head_rows = 0;
  };

  ModelSource() = default;
  void add(const TensorView& view, std::string name, int64_t head_rows);
  void open_safetensors_model(const std::filesystem::path& path);
  void open_gguf_model(const std::filesystem::path& path);
  int64_t permuted_head_rows(const TensorView& view) const;
  void check_complete() const;
  const Origin& origin(const SourceTensor& tensor) const;

  std::filesystem::path path_;
  TensorStore store_;
  std::optional<GgufFile> gguf_;
  std::optional<ModelConfig> config_;
  std::vector<SourceTensor> tensors_;
  std::vector<Origin> origins_;
  std::map<std::string, size_t, std::less<>> index_;
  mutable std::mutex mutex_;
  mutable std::map<size_t, DType> output_dtypes_;  // found so far, under mutex_
};

/// Opens an HF folder (config.json and safetensors, sharded or not), a .safetensors file alone, a .gguf file, or a
/// folder with one .gguf and no safetensors. Only headers are read.
/// Throws Error(not_found) where nothing is there, Error(unsupported) for other kinds of files, architectures of GGUF
/// that have no HF names here, GGUF files in several parts, and checkpoints that are quantized already;
/// Error(invalid_file) for broken files, tensors that are missing (GGUF) or do not fit the configuration.
std::unique_ptr<ModelSource> open_model(const std::filesystem::path& path);

}  // namespace mxq
