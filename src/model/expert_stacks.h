// Matrices of experts that safetensors hold in stacks of three dimensions (ExpertStack), each by itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "format/tensor_store.h"
#include "model/config.h"
#include "mxq/quantized_matrix.h"
#include "mxq/tensor.h"

namespace mxq {

class ModelSource;
struct SourceTensor;

/// A matrix, or the bias of one, inside a stack.
struct StackedTensor {
  std::string name;            // as if the file had it alone: "model.layers.0.mlp.experts.3.gate_proj.weight"
  std::vector<int64_t> shape;  // [out, in]; of a bias [out]
  TensorView part;             // of its expert: what the parts of the stack share
  TensorView scales;           // where that is MXFP4, else without bytes
  int64_t parts = 1, first = 0, step = 1;  // how many; row r is first + r * step of all their rows
  bool transposed = false;                 // [in, all rows]

  bool is_mxfp4() const { return !scales.bytes.empty(); }
  /// Of its values: BF16 holds all that MXFP4 does.
  DType dtype() const { return is_mxfp4() ? DType::bf16 : part.dtype; }
  /// Rows [begin, begin + count) as floats. An MXFP4 scale of 255 makes NaN of its block.
  void read_rows(int64_t begin, int64_t count, float* out) const;
  /// Of MXFP4: in exact_ggml_layout(). Throws Error(not_finite) for scales beyond fp32.
  QuantizedMatrix groups() const;
};

/// What a tensor of a file stands for, where it belongs to a stack of the configuration's architecture in a layer that
/// the model has: all experts' matrices or biases; nothing for scales, which belong to their blocks. nullopt for all
/// other tensors. Throws Error(invalid_file) for shapes other than the configuration's, for blocks without scales and
/// the other way round, and for a stack that is there twice; Error(unsupported) for dtypes that hold no weights.
/// `source` names the model in errors. The views must outlive what is returned.
std::optional<std::vector<StackedTensor>> stacked_tensors(const TensorView& tensor, const TensorStore& store,
                                                          const ModelConfig& config, const std::string& source);

/// A stack as transformers loads it, made of a model's matrices or biases, which may have come from anywhere.
struct RestoredStack {
  std::string stored_name;
  std::vector<int64_t> shape;                             // of a stack of biases 2-D
  std::vector<std::vector<const SourceTensor*>> experts;  // the parts of each
  bool transposed = false, alternating = false;
};

/// Of all layers; none where the architecture has no stacks. Throws Error(invalid_file) naming a stack of which a
/// tensor is missing while others are there, and a tensor of another shape than the configuration's.
std::vector<RestoredStack> restored_stacks(const ModelSource& model);

}  // namespace mxq
