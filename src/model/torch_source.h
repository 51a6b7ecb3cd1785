// Models in files of torch.save, under Hugging Face's names and in its order of rows.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "format/strided.h"
#include "model/safetensors_source.h"
#include "model/torch_model.h"

namespace mxq {

/// As a model in safetensors, but that a tensor's elements may lie in any order.
class TorchSource : public SafetensorsSource {
 public:
  /// `path` is what was opened. An output matrix that a tied model has as a second name of its embedding is left out,
  /// as in safetensors. Throws what SafetensorsSource throws, and Error(unsupported) for stacks of experts that are
  /// not row-major.
  TorchSource(const std::filesystem::path& path, TorchModel model);

  std::vector<std::pair<std::string, std::string>> side_files(std::vector<std::string>& notes) const override;
  std::unique_ptr<Tokenizer> open_tokenizer() const override;
  /// Of a tensor in another order only where its values are no floats of at most 32 bits: gathered when it is first
  /// asked for, and kept.
  std::optional<std::span<const std::byte>> plain_bytes(const SourceTensor& tensor) const override;
  void hash(const SourceTensor& tensor, ContentHash& hash) const override;
  int64_t stored_bytes(const SourceTensor& tensor) const override;

 protected:
  void read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const override;

 private:
  /// Null for a tensor whose bytes are as they should be.
  const StridedRows* strided(const SourceTensor& tensor) const;
  /// Calls use(tensor, first, count, bytes) for some rows after the others.
  template <typename Use>
  void for_rows(const StridedRows& rows, int64_t first, int64_t count, int64_t width, const Use& use) const;

  std::filesystem::path folder_;
  bool alone_ = false;                     // a file, not its folder, was opened
  std::map<size_t, StridedRows> strided_;  // by SourceTensor::index
  mutable std::mutex mutex_;
  mutable std::map<size_t, std::vector<std::byte>> gathered_;  // under mutex_
};

}  // namespace mxq
