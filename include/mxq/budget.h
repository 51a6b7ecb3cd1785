// Budgets as people state them, and what they leave for the matrices.
#pragma once

#include <cstdint>
#include <string>

#include "mxq/allocate.h"
#include "mxq/matrix_selection.h"
#include "mxq/model.h"
#include "mxq/scheme.h"

namespace mxq {

struct Budget {
  enum class Kind {
    bits,    // bits per parameter over the quantized matrices
    scheme,  // what one scheme for all matrices would take
    size,    // bytes of the checkpoint's model*.safetensors files, headers and unquantized tensors included
    vram,    // bytes of weights + KV cache of `context` tokens + `reserve`
  };
  Kind kind = Kind::bits;
  double bits = 0;
  std::string scheme;
  int64_t bytes = 0;
  int64_t context = 0;
  int64_t reserve = 0;
};

/// "3.25" or the name of any scheme, "b3g64". Throws Error(usage) for anything else, also for bits outside (0, 32].
Budget parse_bits_budget(const std::string& text);

/// What a model needs beside its quantized matrices.
struct ModelBytes {
  int64_t plain = 0;         // tensors that are not quantized, as they will be stored
  int64_t headers = 0;       // at most: the safetensors headers of the checkpoint
  int64_t kv_per_token = 0;  // K and V in fp16, all layers with attention
  int64_t state = 0;         // of a text, in layers with linear attention, in fp32
  int64_t max_context = 0;   // of the model's configuration; 0: unknown
};
/// `planned` and `format` as in MeasureOptions. Fit::awq folds scales into norms and matrices, which are then stored in
/// fp32. Reads no weights.
ModelBytes model_bytes(const Model& model, const MatrixSelection& planned = {}, Fit fit = Fit::mse,
                       const std::string& format = "mxq");

/// Bytes left for the matrices. Throws Error(infeasible) naming the smallest reachable size and its parts where a size
/// or vram budget is below it, Error(unsupported) for vram where the model has no config.
int64_t matrix_budget(const Budget& budget, const ErrorTable& table, const AllocateOptions& options,
                      const ModelBytes& model);

}  // namespace mxq
