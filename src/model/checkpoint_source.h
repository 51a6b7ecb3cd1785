// Folders of safetensors in which matrices are quantized: they are dequantized as they are read.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>

#include "format/hf_config.h"
#include "format/mlx_config.h"
#include "format/tensor_store.h"
#include "model/model_source.h"
#include "mxq/quantized_matrix.h"

namespace mxq {

/// Such a folder, whatever its format.
struct QuantizedFolder {
  struct Matrix {
    std::string name;  // of the weight without ".weight"
    /// Without parts where `make_rows` makes them.
    QuantizedView view;
    /// Of files that have the matrix in another order: makes rows [first, first + count) of it.
    std::function<QuantizedMatrix(int64_t first, int64_t count)> make_rows;
    std::string how;  // what that depends on besides the tensors: other words for other weights
    /// The column of the weight that stands at each place of `make_rows`; empty where all stand in place.
    std::vector<int64_t> columns;
    std::vector<std::string> parts;  // the tensors that it consists of
    DType dtype = DType::f16;        // that the weights had before
  };

  std::filesystem::path path;
  std::string config_json;  // without what it says about quantized weights
  std::optional<ModelConfig> config;
  TensorStore store;
  std::vector<Matrix> matrices;
  /// What views of matrices lie in that is in no file.
  std::vector<std::shared_ptr<std::vector<std::byte>>> made;
  /// Names of tensors that the files do not hold, and the names of those whose values they have.
  std::vector<std::pair<std::string, std::string>> copies;
};

/// An mxq checkpoint: a folder whose config.json has the given quantization config.
QuantizedFolder open_checkpoint(const std::filesystem::path& folder, const QuantizationConfig& quantization);

/// A folder that mlx-lm loads: of each module that has scales, codes in U32, and a scale and a bias in F16 or BF16 for
/// each group. Throws Error(unsupported) naming a module of another mode, or whose codes and groups are of another
/// kind; Error(invalid_file) for shapes that contradict config.json.
QuantizedFolder open_mlx_folder(const std::filesystem::path& folder, const MlxQuantization& quantization);

/// A folder of compressed-tensors in the format pack-quantized; without matrices where its tensors are plain, and only
/// config.json speaks of another state. Scales of BF16 are looked at where they are symmetric,
/// and so are all zeros. Throws Error(unsupported) naming a matrix whose columns have an order of their own or whose
/// tensors are of another kind, and what get_compressed_tensors() throws; Error(invalid_file) for shapes that
/// contradict config.json.
QuantizedFolder open_compressed_tensors(const std::filesystem::path& folder);

/// A folder of GPTQ, version 1 or 2, as AutoGPTQ and GPTQModel write it, or of AWQ as AutoAWQ does ("gemm"); nullopt
/// where neither config.json nor the package's own file beside it says so; without matrices where the tensors are
/// plain. Throws Error(unsupported) naming a matrix whose tensors are of another kind, and what get_gptq_packing() and
/// get_awq_config() throw; Error(invalid_file) for tensors that are missing or contradict each other or the
/// configuration.
std::optional<QuantizedFolder> open_gptq_folder(const std::filesystem::path& folder);
std::optional<QuantizedFolder> open_awq_folder(const std::filesystem::path& folder);

/// A folder of model.onnx and its data, as mxq writes it for onnxruntime. Throws Error(unsupported) for graphs that are
/// not what mxq makes of the folder's config.json, naming the first node or initializer that is another;
/// Error(invalid_file) for places outside the files and shapes that contradict the graph.
QuantizedFolder open_onnx_folder(const std::filesystem::path& folder);

class CheckpointSource : public ModelSource {
 public:
  explicit CheckpointSource(QuantizedFolder folder);

  std::string config_json() const override;
  std::vector<std::pair<std::string, std::string>> side_files(std::vector<std::string>& notes) const override;
  std::vector<std::filesystem::path> weight_files() const override;
  std::optional<std::span<const std::byte>> plain_bytes(const SourceTensor& tensor) const override;
  /// Of a quantized matrix: what it was before.
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
    explicit Matrix(QuantizedFolder::Matrix from) : in_folder(std::move(from)) {}
    QuantizedFolder::Matrix in_folder;
    mutable std::atomic<bool> checked{false};  // check_numbers() has found nothing
  };

  /// Null for a tensor that is not quantized.
  const Matrix* quantized(const SourceTensor& tensor) const;
  /// Throws what check_numbers() throws; looks once.
  void check(const SourceTensor& tensor, const Matrix& matrix) const;
  /// Rows whose numbers have been checked.
  QuantizedMatrix made_rows(const SourceTensor& tensor, const Matrix& matrix, int64_t first, int64_t count) const;
  /// The tensor, or what it is a copy of.
  const SourceTensor& held(const SourceTensor& tensor) const;
  void add_copies(const std::vector<std::pair<std::string, std::string>>& copies);

  std::string config_json_;
  TensorStore store_;
  std::vector<std::shared_ptr<std::vector<std::byte>>> made_;
  std::unordered_map<size_t, Matrix> matrices_;  // by SourceTensor::index
  std::unordered_map<size_t, size_t> copies_;    // index of the copy: index of what is held
};

}  // namespace mxq
