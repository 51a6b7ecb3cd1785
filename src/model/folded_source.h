// A model whose tensors have been multiplied along rows or columns, so that what they compute stays the same.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/model_source.h"

namespace mxq {

/// What a tensor is multiplied by; empty: nothing.
struct Fold {
  std::vector<float> rows;  // [rows], of a vector its elements
  std::vector<float> cols;  // [cols]
  float offset = 0;         // what stands for w is w + offset: of norms that multiply by 1 + w
};

/// Folded tensors are F32, for a norm's factors do not fit into 16 bits; all else is the base's own.
class FoldedSource : public ModelSource {
 public:
  /// `base` must outlive it; `folds` by names of tensors. Throws Error(usage) for a tensor that the base lacks, and for
  /// factors of another number than its rows or columns.
  FoldedSource(const ModelSource& base, std::map<std::string, Fold> folds);

  std::string config_json() const override { return base_.config_json(); }
  std::vector<std::pair<std::string, std::string>> side_files(std::vector<std::string>& notes) const override {
    return base_.side_files(notes);
  }
  std::unique_ptr<Tokenizer> open_tokenizer() const override { return base_.open_tokenizer(); }
  std::vector<std::filesystem::path> weight_files() const override { return base_.weight_files(); }
  const GgufFile* gguf() const override { return base_.gguf(); }
  bool is_changed(const SourceTensor& tensor) const override {
    return fold_of(tensor) != nullptr || base_.is_changed(base_of(tensor));
  }
  std::optional<std::span<const std::byte>> plain_bytes(const SourceTensor& tensor) const override;
  DType output_dtype(const SourceTensor& tensor) const override;
  std::optional<QuantizedLayout> exact_layout(const SourceTensor& tensor) const override;
  QuantizedMatrix exact_groups(const SourceTensor& tensor) const override;
  void hash(const SourceTensor& tensor, ContentHash& hash) const override;
  int64_t stored_bytes(const SourceTensor& tensor) const override { return base_.stored_bytes(base_of(tensor)); }
  const SourceTensor* copy_of(const SourceTensor& tensor) const override {
    const SourceTensor* const original = base_.copy_of(base_of(tensor));
    return original == nullptr ? nullptr : &tensors()[original->index];
  }
  void done(const SourceTensor& tensor) const override { base_.done(base_of(tensor)); }

 protected:
  void read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const override;

 private:
  const SourceTensor& base_of(const SourceTensor& tensor) const { return base_.tensors()[tensor.index]; }
  /// Null where the tensor is as it was.
  const Fold* fold_of(const SourceTensor& tensor) const;

  const ModelSource& base_;
  std::map<std::string, Fold> folds_;
};

}  // namespace mxq
