// Any MODEL, opened: tensors under Hugging Face names, in Hugging Face order, read one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/content_hash.h"
#include "model/config.h"
#include "mxq/tensor.h"

namespace mxq {

struct SourceTensor {
  std::string name;            // "model.layers.0.self_attn.q_proj.weight"
  DType dtype = DType::f32;    // as stored
  std::string stored_as;       // dtype_name(dtype), or the scheme's name in an mxq checkpoint
  DType output_dtype = DType::f16;  // of a checkpoint that keeps the tensor unquantized: F32, F16 or BF16
  std::vector<int64_t> shape;
  bool plannable = false;      // a 2-D projection of attention or MLP
  std::string layer, module;   // "0", "self_attn.q_proj"; empty where the name has none

  int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
  int64_t cols() const { return shape.size() < 2 ? 1 : shape[1]; }
  int64_t elements() const;
  /// The name without ".weight".
  std::string matrix_name() const;
};

class ModelSource {
 public:
  virtual ~ModelSource() = default;

  const std::vector<SourceTensor>& tensors() const { return tensors_; }
  /// Throws Error(not_found).
  const SourceTensor& tensor(std::string_view name) const;
  /// "LlamaForCausalLM"; "unknown" where nothing tells.
  virtual std::string architecture() const = 0;
  /// Absent where there is no config (a bare .safetensors) or it is not of a decoder that ModelConfig knows.
  virtual std::optional<ModelConfig> config() const = 0;
  /// A Hugging Face config.json (the model's own, or built from GGUF metadata); "{}" where nothing is known.
  virtual std::string config_json() const = 0;
  /// Other files that belong to the model (name, contents): tokenizer, generation config, README, ...; for a GGUF
  /// rebuilt from its metadata. What could not be rebuilt is said in `notes`, a sentence each.
  virtual std::vector<std::pair<std::string, std::string>> side_files(std::vector<std::string>& notes) const = 0;
  /// The files that hold the weights.
  virtual std::vector<std::filesystem::path> files() const = 0;

  /// The whole tensor as floats, in the order of Hugging Face.
  void read(const SourceTensor& tensor, float* out) const { read_rows(tensor, 0, tensor.rows(), out); }
  /// Rows [first, first + count) of it.
  virtual void read_rows(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const = 0;
  /// The stored bytes where they are the tensor in plain order (F32, F16, BF16, not permuted).
  virtual std::optional<std::span<const std::byte>> raw(const SourceTensor& tensor) const = 0;
  /// Adds what the tensor's values depend on: stored bytes, dtype, permutation.
  virtual void hash(const SourceTensor& tensor, ContentHash& hash) const = 0;
  virtual int64_t stored_bytes(const SourceTensor& tensor) const = 0;
  /// Its pages are not needed any more and need not stay in memory.
  virtual void done(const SourceTensor& tensor) const = 0;

 protected:
  std::vector<SourceTensor> tensors_;
};

/// A Hugging Face folder (config.json and safetensors, sharded or not), a .safetensors file, a .gguf file, or a folder
/// that holds exactly one .gguf and no safetensors. Throws Error(not_found) naming the path and what is supported.
std::unique_ptr<ModelSource> open_model(const std::filesystem::path& path);

}  // namespace mxq
