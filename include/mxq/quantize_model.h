// From a model to a checkpoint and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mxq/model.h"
#include "mxq/output.h"
#include "mxq/plan_file.h"
#include "mxq/progress.h"
#include "mxq/tensor.h"

namespace mxq {

struct WriteOptions {
  /// Shards are cut before they grow past this (a single larger tensor gets a shard of its own).
  int64_t max_shard_bytes = 5'000'000'000;
  /// Replace an existing folder that mxq wrote, and that holds nothing else, instead of refusing.
  bool overwrite = false;
  /// What the caller reads besides the model: an output never takes its place.
  InputPaths inputs;
  /// Where text that a model samples for its calibration is remembered; empty: nowhere.
  std::filesystem::path cache;
};

/// Throws Error(usage) where `out` cannot be made of `model` in the format: what quantize_model() says too, but after
/// the work that led to its plan.
void check_output(const std::filesystem::path& model, const std::filesystem::path& out, const WriteOptions& options,
                  const std::string& format = "mxq");

struct WriteReport {
  std::map<std::string, int64_t> files;  // file name -> bytes
  int64_t matrix_bytes = 0;              // of the quantized matrices: equals the plan's
  SampleHealth sample;                   // of a calibration on the model's own text
  std::vector<std::string> notes;        // what a user should know, e.g. that no tokenizer could be rebuilt
  double seconds = 0;                    // of the whole call: sampling and calibrating too
};

/// Writes `out` in the plan's format: the mxq checkpoint (a folder, docs/reference/checkpoint.md) or a .gguf file. All
/// or nothing: it appears under its name when it is complete; after a kill, the same call goes on, with a folder from
/// the last finished shard; after an error nothing is left. Throws Error(usage) when the plan does not fit the model,
/// and for an `out` that check_output() refuses.
WriteReport quantize_model(const Model& model, const std::filesystem::path& out, const PlanFile& plan,
                           const WriteOptions& options = {}, Progress* progress = nullptr);

/// Writes any model that mxq reads as plain HF safetensors. Weights become `dtype` (f32, f16 or bf16); without it each
/// has the dtype that it had before it was quantized. Tensors of integers and of dtypes with which mxq does not compute
/// are copied as they are. As atomic as above. Throws Error(unsupported) naming a weight that `dtype` cannot hold.
WriteReport dequantize_model(const Model& model, const std::filesystem::path& out, std::optional<DType> dtype,
                             const WriteOptions& options = {}, Progress* progress = nullptr);

/// What a model's tensors take as they are stored, and how many weights they hold.
struct WeightBytes {
  int64_t stored = 0;
  int64_t weights = 0;
};
WeightBytes weight_bytes(const Model& model);

}  // namespace mxq
