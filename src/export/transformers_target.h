// What targets have in common that transformers and vLLM load: the linear layers of layers are quantized, from weights
// that lie as they are, those alike that vLLM computes with one matrix; embedding and output matrix stay.
#pragma once

#include <string>
#include <vector>

#include "export/bias_groups.h"

namespace mxq {

class TransformersTarget : public BiasGroupsTarget {
 public:
  /// Weights that are not rotated have columns that stand out (docs/decisions/0022). Groups stay in place.
  std::optional<ColumnOrder> usual_column_order() const override { return ColumnOrder::diagonal; }
  bool holds_embeddings() const override { return false; }
  /// vLLM computes them with one matrix.
  std::vector<std::string_view> ties() const override { return {"qkv", "gate_up"}; }
  void check(const QuantizeOptions& options, std::span<const Scheme> schemes) const override;
  void check_model(const ModelSource& model) const override;

 protected:
  /// Those of groups that the format has.
  virtual std::vector<ZeroPoint> zero_points() const = 0;
  std::vector<const SourceTensor*> model_tensors(const ModelSource& model,
                                                 std::vector<std::string>& notes) const override;
};

/// Says of a model whose gate and up are one matrix that GPTQModel, which takes them apart before it loads a folder,
/// does not find them.
void note_split_modules(const ModelSource& model, std::vector<std::string>& notes);

/// The modules of layers that are not quantized, in files' order.
std::vector<std::string> plain_modules(const std::vector<const SourceTensor*>& kept);

}  // namespace mxq
