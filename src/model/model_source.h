// Any model that mxq can read, as tensors with Hugging Face's names and row order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/content_hash.h"
#include "model/config.h"
#include "model/matrix_names.h"
#include "model/text_names.h"
#include "mxq/error.h"
#include "mxq/quantized_matrix.h"
#include "mxq/tensor.h"
#include "mxq/tokenizer.h"

namespace mxq {

/// A tensor of a model, in HF order.
struct SourceTensor {
  std::string name;            // "model.layers.0.self_attn.q_proj.weight", whatever prefix the file puts in front
  std::string stored_name;     // as the file has it, and as a checkpoint made from it will
  DType dtype = DType::f32;    // as stored; F32 for a quantized matrix of an mxq checkpoint
  std::string stored_as;       // the dtype's name, or the scheme of a quantized matrix
  std::vector<int64_t> shape;  // row-major; a matrix is [out_features, in_features]
  TensorRole role = TensorRole::other;
  /// Set if the tensor is a plannable matrix: of the roles matrix, embedding or head, not empty, and of a weight's
  /// dtype.
  std::optional<MatrixName> matrix;
  size_t index = 0;  // in ModelSource::tensors()

  int64_t elements() const;
  int64_t rows() const;  // the first dimension; 1 for a scalar
  int64_t cols() const;  // elements of a row
  /// The name without ".weight": what plans and error tables call a matrix.
  std::string matrix_name() const;
  /// stored_name without ".weight".
  std::string stored_matrix_name() const;
};

/// What reading throws for a value that is NaN or infinite.
Error not_finite(const SourceTensor& tensor, double value, int64_t row, int64_t column);

/// An opened model. Reading is thread-safe.
class ModelSource {
 public:
  virtual ~ModelSource() = default;
  ModelSource(const ModelSource&) = delete;
  ModelSource& operator=(const ModelSource&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// HF's model_type ("llama"); empty for weights alone.
  std::string architecture() const { return config_ ? config_->architecture : ""; }
  /// nullopt for weights alone: a .safetensors file, or one of torch.save without a config.json beside it.
  const std::optional<ModelConfig>& config() const { return config_; }
  /// The model's config.json, or one built from GGUF metadata; "{}" for weights alone.
  virtual std::string config_json() const = 0;
  /// The other files of the model (name, contents), such as its tokenizer; for a GGUF, rebuilt from its metadata. What
  /// could not be rebuilt is told in `notes`, a sentence each.
  virtual std::vector<std::pair<std::string, std::string>> side_files(std::vector<std::string>& notes) const = 0;
  /// The model's own tokenizer. Throws what open_tokenizer() of mxq/tokenizer.h throws.
  virtual std::unique_ptr<Tokenizer> open_tokenizer() const { return mxq::open_tokenizer(path_); }
  /// The files that hold the weights.
  virtual std::vector<std::filesystem::path> weight_files() const = 0;
  /// What the model's GGUF says; null where it comes from other files.
  virtual const GgufFile* gguf() const { return nullptr; }

  /// In the files' order.
  const std::vector<SourceTensor>& tensors() const { return tensors_; }
  /// What whoever uses the model should know, a sentence each: the prefix that its text model was found under, tensors
  /// that its architecture does not use, layers behind the last.
  virtual std::vector<std::string> notes() const;
  /// Whether the text model reads it, by what its architecture's layers have; of an unknown architecture nobody knows,
  /// and it is false.
  bool reads(const SourceTensor& tensor) const;
  /// By name or stored name; null where there is none.
  const SourceTensor* find(std::string_view name) const;

  /// elements() floats. Throws Error(unsupported) naming the tensor if its dtype is no weight's, Error(not_finite)
  /// naming it, row and column of its first NaN or infinity.
  void read(const SourceTensor& tensor, float* out) const { read_rows(tensor, 0, tensor.rows(), out); }
  /// Rows [first, first + count). Throws Error(usage) for a range outside the tensor.
  void read_rows(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const;
  /// The same for who only copies a tensor: NaN and infinities too.
  void copy_rows(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const;

  /// The bytes as an HF checkpoint holds them, where they can be copied unchanged: no GGUF block type, no permuted
  /// rows, no norm that GGUF holds as 1 + w, no codes. Empty optional otherwise: read() and write_dtype() to
  /// output_dtype().
  virtual std::optional<std::span<const std::byte>> plain_bytes(const SourceTensor& tensor) const = 0;
  /// The dtype in an HF checkpoint of a tensor that is not quantized: its own if that is plain. GGUF blocks become F16,
  /// or F32 if that would make a value infinite; the first call for such a tensor reads all of it. Norms that GGUF
  /// holds as 1 + w become F32.
  virtual DType output_dtype(const SourceTensor& tensor) const = 0;
  /// Set where the file's own blocks are groups of an affine scheme, so that a checkpoint can hold the very same values
  /// in fewer bytes than floats take: GGUF's blocks without offsets (gguf_groups.h) and what a checkpoint has
  /// quantized.
  virtual std::optional<QuantizedLayout> exact_layout(const SourceTensor& tensor) const {
    (void)tensor;
    return std::nullopt;
  }
  /// The tensor in that form: dequantizing gives what read() gives, bit for bit. Only where exact_layout() is set.
  virtual QuantizedMatrix exact_groups(const SourceTensor& tensor) const {
    (void)tensor;
    return {};
  }
  /// Adds all that the tensor's values depend on: stored bytes, dtype or scheme, order of rows.
  virtual void hash(const SourceTensor& tensor, ContentHash& hash) const = 0;
  /// Whether its values are others than the files'.
  virtual bool is_changed(const SourceTensor& tensor) const {
    (void)tensor;
    return false;
  }
  /// What it takes in the files.
  virtual int64_t stored_bytes(const SourceTensor& tensor) const = 0;
  /// The tensor whose values stand for those of this one, which the files do not hold; null for all others.
  virtual const SourceTensor* copy_of(const SourceTensor& tensor) const {
    (void)tensor;
    return nullptr;
  }
  /// The tensor will not be read again soon: its pages need not stay in memory.
  virtual void done(const SourceTensor& tensor) const = 0;

 protected:
  ModelSource(std::filesystem::path path, std::optional<ModelConfig> config)
      : path_(std::move(path)), config_(std::move(config)) {}
  /// How the names that add() is given are to be translated; before the first of them.
  void translate(const std::vector<std::string>& stored_names);
  /// Appends a tensor by its stored name; a 2-D one of weights with a projection's name becomes a plannable matrix, but
  /// for layers that a known architecture does not have by its configuration.
  void add(std::string name, DType dtype, std::string stored_as, std::vector<int64_t> shape);
  /// As read_rows, with a range that has been checked.
  virtual void read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const = 0;

  std::filesystem::path path_;
  std::optional<ModelConfig> config_;

 private:
  std::vector<SourceTensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  TextNames names_;
};

/// Opens an HF folder (config.json and safetensors, sharded or not), an mxq checkpoint, a folder that mlx-lm loads, a
/// .safetensors file alone, a .gguf file (of several parts the first), files of torch.save (model/torch_model.h), or a
/// folder with one .gguf or its parts. Of a folder that holds several, safetensors are read, else pytorch_model.bin,
/// else the .gguf. Only headers are read. Throws Error(not_found) where nothing is there, Error(unsupported) for other
/// kinds of files, architectures of GGUF that have no HF names here, and checkpoints that another program has
/// quantized; Error(invalid_file) for broken files, tensors that are missing (GGUF) or do not fit the configuration.
std::unique_ptr<ModelSource> open_model(const std::filesystem::path& path);

}  // namespace mxq
