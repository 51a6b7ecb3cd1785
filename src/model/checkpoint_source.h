// mxq checkpoints: quantized matrices are dequantized as they are read.
#pragma once

#include <atomic>
#include <unordered_map>
#include <utility>

#include "format/hf_config.h"
#include "format/tensor_store.h"
#include "model/model_source.h"
#include "mxq/quantized_matrix.h"

namespace mxq {

class CheckpointSource : public ModelSource {
 public:
  /// A folder whose config.json has the given quantization config.
  CheckpointSource(const std::filesystem::path& folder, const QuantizationConfig& quantization);

  std::string config_json() const override;
  std::vector<std::pair<std::string, std::string>> side_files(std::vector<std::string>& notes) const override;
  std::vector<std::filesystem::path> weight_files() const override;
  std::optional<std::span<const std::byte>> plain_bytes(const SourceTensor& tensor) const override;
  /// What a quantized matrix was before: as the checkpoint says, else as config.json does, else F16.
  DType output_dtype(const SourceTensor& tensor) const override;
  std::optional<QuantizedLayout> exact_layout(const SourceTensor& tensor) const override;
  QuantizedMatrix exact_groups(const SourceTensor& tensor) const override;
  void hash(const SourceTensor& tensor, ContentHash& hash) const override;
  int64_t stored_bytes(const SourceTensor& tensor) const override;
  const SourceTensor* copy_of(const SourceTensor& tensor) const override;
  void done(const SourceTensor& tensor) const override;

 protected:
  void read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const override;

 private:
  /// A matrix in the files.
  struct Matrix {
    explicit Matrix(QuantizedView in_file) : view(std::move(in_file)) {}
    QuantizedView view;
    mutable std::atomic<bool> checked{false};  // check_numbers() has found nothing
  };

  const QuantizedView* quantized(const SourceTensor& tensor) const;
  /// The same before its numbers are used. Throws what check_numbers() throws; looks once.
  const QuantizedView* checked(const SourceTensor& tensor) const;
  /// The tensor, or what it is a copy of.
  const SourceTensor& held(const SourceTensor& tensor) const;
  void add_copies(const QuantizationConfig& quantization);

  TensorStore store_;
  std::unordered_map<size_t, DType> dtypes_;     // of the matrices before they were quantized
  std::unordered_map<size_t, Matrix> matrices_;  // by SourceTensor::index
  std::unordered_map<size_t, size_t> copies_;    // index of the copy: index of what is held
};

}  // namespace mxq
