// Models in GGUF, under Hugging Face's names and in its order of rows.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "base/mapped_file.h"
#include "format/gguf.h"
#include "format/gguf_parts.h"
#include "model/gguf_names.h"
#include "model/gguf_placement.h"
#include "model/model_source.h"

namespace mxq {

class GgufSource : public ModelSource {
 public:
  /// A whole model, or the first part of one (open_gguf).
  explicit GgufSource(MappedFile file) : GgufSource(open_gguf(std::move(file))) {}

  std::string config_json() const override;
  std::vector<std::string> notes() const override;
  std::vector<std::pair<std::string, std::string>> side_files(std::vector<std::string>& notes) const override;
  std::unique_ptr<Tokenizer> open_tokenizer() const override;
  std::vector<std::filesystem::path> weight_files() const override;
  const GgufFile* gguf() const override { return &gguf_; }
  std::optional<std::span<const std::byte>> plain_bytes(const SourceTensor& tensor) const override;
  DType output_dtype(const SourceTensor& tensor) const override;
  std::optional<QuantizedLayout> exact_layout(const SourceTensor& tensor) const override;
  QuantizedMatrix exact_groups(const SourceTensor& tensor) const override;
  void hash(const SourceTensor& tensor, ContentHash& hash) const override;
  int64_t stored_bytes(const SourceTensor& tensor) const override;
  void done(const SourceTensor& tensor) const override;

 protected:
  void read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const override;

 private:
  explicit GgufSource(MappedGguf opened);
  const GgufPlacement& place(const SourceTensor& tensor) const { return places_[tensor.index]; }
  void add_tensor(const HfName& known, std::vector<TensorView> views);
  /// `part` of `parts` matrices of each expert, one below the other.
  void add_experts(const HfName& known, const TensorView& view, int64_t part = 0, int64_t parts = 1);
  void check_complete() const;

  std::vector<MappedFile> files_;
  GgufFile gguf_;
  std::vector<GgufPlacement> places_;  // of tensors()
  mutable std::mutex mutex_;
  mutable std::map<size_t, DType> output_dtypes_;  // found so far, under mutex_
};

}  // namespace mxq
