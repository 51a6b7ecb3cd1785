// Targets: the file formats that plans are made for. Each is one file in this folder, and its line in targets().
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/model_source.h"
#include "mxq/output.h"
#include "mxq/progress.h"
#include "mxq/quantize_model.h"
#include "mxq/quantized_matrix.h"
#include "mxq/scheme.h"

namespace mxq {

/// A matrix of a plan, and how its codes are made when their turn comes.
struct ExportMatrix {
  const SourceTensor* tensor = nullptr;
  QuantizedLayout layout;
  std::function<QuantizedMatrix()> make;
};

/// All that a target writes.
struct Export {
  /// Whose tensors are written: where a fit has folded scales into them, what that made of the model.
  const ModelSource& model;
  /// The model as it was opened, which tells the dtypes that its weights had.
  const ModelSource& original;
  QuantizeOptions quantize;
  std::vector<ExportMatrix> matrices;  // in the order in which they have to be made
  std::string plan;                    // as write_plan() has it
  std::string key;                     // the same for runs that make the same bytes
};

/// What a file takes besides the planned matrices.
struct RestBytes {
  int64_t tensors = 0;         // that are not quantized, as they will be stored
  int64_t headers = 0;         // at most
  int64_t largest_groups = 0;  // of tensors whose own groups are taken over: the most that one has in the model's files
};

/// Where a target writes, and what may not be touched (mxq/output.h).
struct OutputPlace {
  std::filesystem::path path;
  bool overwrite = false;  // what mxq wrote there before
  InputPaths inputs;       // the model first
};

class Target {
 public:
  virtual ~Target() = default;

  /// As --format has it: "mxq".
  virtual std::string_view name() const = 0;

  // What a plan has to know before it is made.

  /// What a plan chooses from where nobody says; empty: what is usual for the method.
  virtual std::vector<Scheme> usual_schemes() const { return {}; }
  /// What is done to matrices where nobody says; nullopt: what is usual for the fit.
  virtual std::optional<Normalize> usual_normalize() const { return std::nullopt; }
  /// How scales and zeros are stored where nobody says; nullopt: as usual. `model` is null where a plan is made from an
  /// error table that does not say it either.
  virtual std::optional<Metadata> usual_metadata(const ModelSource* model) const {
    (void)model;
    return std::nullopt;
  }
  /// How the zeros of groups are found where nobody says; nullopt: as usual.
  virtual std::optional<ZeroPoint> usual_zero_point() const { return std::nullopt; }
  /// The order in which gptq codes columns where nobody says; nullopt: as usual.
  virtual std::optional<ColumnOrder> usual_column_order() const { return std::nullopt; }
  /// Whether embedding and output matrix are planned, whatever the budget counts, where nobody says.
  virtual bool plans_embeddings() const { return false; }
  /// Whether they can be.
  virtual bool holds_embeddings() const { return true; }
  /// Throws Error(usage) naming what the format has no place for, whatever the matrix.
  virtual void check(const QuantizeOptions& options, std::span<const Scheme> schemes) const {
    (void)options;
    (void)schemes;
  }
  /// Throws Error(unsupported) for a model that cannot be written: its architecture, say.
  virtual void check_model(const ModelSource& model) const { (void)model; }
  /// Whether a rows x cols matrix can be stored in the scheme, quantized so.
  virtual bool holds(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols) const = 0;
  /// The bytes that it then takes, exactly.
  virtual int64_t matrix_bytes(const Scheme& scheme, const QuantizeOptions& options, int64_t rows,
                               int64_t cols) const = 0;
  /// Of a file in which `matrices` are quantized.
  virtual RestBytes rest(const ModelSource& model, const std::vector<const SourceTensor*>& matrices) const = 0;
  /// Ties that the format asks for, by the names of fused_modules().
  virtual std::vector<std::string_view> ties() const { return {}; }

  /// Writes all of it, or leaves nothing; after a kill, the same call goes on. What it holds is read back by the
  /// ModelSource that open_model() finds for it.
  virtual WriteReport write(const Export& what, const OutputPlace& out, const WriteOptions& options,
                            Progress* progress) const = 0;
  /// Throws Error(usage) for a place that write() refuses: to be asked before any work.
  virtual void check_output(const OutputPlace& out) const = 0;
  /// Gives what write() made at `made` the name `out`, at once. Throws what check_output() throws, and Error(io).
  virtual void rename(const std::filesystem::path& made, const OutputPlace& out) const = 0;
  /// Removes what write() made there, finished or not, and nothing else.
  virtual void remove(const std::filesystem::path& made) const noexcept = 0;

 protected:
  /// Throws Error(usage): what was given for the option has no place in this format.
  [[noreturn]] void refuse(std::string_view option, std::string_view given, std::string allowed) const;
};

/// A target whose files are in a folder of their own (export/model_folder.h).
class FolderTarget : public Target {
 public:
  void check_output(const OutputPlace& out) const override;
  void rename(const std::filesystem::path& made, const OutputPlace& out) const override;
  void remove(const std::filesystem::path& made) const noexcept override;
};

std::span<const Target* const> targets();
/// Throws Error(usage) naming the known ones for anything else.
const Target& find_target(std::string_view name);

/// docs/reference/checkpoint.md: the one that holds all that mxq makes.
const Target& mxq_target();
/// A .gguf file, as llama.cpp and what is built on it load it.
const Target& gguf_target();
/// A folder of safetensors, as MLX's mlx-lm loads it.
const Target& mlx_target();
/// A folder of safetensors, as transformers with compressed-tensors and vLLM load it.
const Target& compressed_tensors_target();
/// A folder of safetensors, as GPTQModel, transformers with it and vLLM load GPTQ's.
const Target& gptq_target();
/// A folder of safetensors, as vLLM, GPTQModel and transformers with it load AWQ's.
const Target& awq_target();
/// A folder of an ONNX graph and its weights, as onnxruntime and onnxruntime-genai load it.
const Target& onnx_target();

}  // namespace mxq
