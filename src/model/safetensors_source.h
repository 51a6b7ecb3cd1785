// Models in safetensors: a Hugging Face folder, or a file alone.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "base/mapped_file.h"
#include "format/safetensors.h"
#include "model/expert_stacks.h"
#include "model/model_source.h"

namespace mxq {

class SafetensorsSource : public ModelSource {
 public:
  /// A folder with config.json. Whether weights are quantized the tensors say, not the config. Stacks of experts are
  /// a matrix each (stacked_tensors(), whose errors are thrown). Throws Error(unsupported) naming a quantized weight
  /// and what the config says about it; Error(not_found) or Error(invalid_file) for weights that an index names and no
  /// shard holds.
  explicit SafetensorsSource(const std::filesystem::path& folder);
  /// A .safetensors file alone.
  explicit SafetensorsSource(std::shared_ptr<const MappedFile> file);

  std::string config_json() const override;
  std::vector<std::string> notes() const override;
  std::vector<std::pair<std::string, std::string>> side_files(std::vector<std::string>& notes) const override;
  std::vector<std::filesystem::path> weight_files() const override;
  std::optional<std::span<const std::byte>> plain_bytes(const SourceTensor& tensor) const override;
  DType output_dtype(const SourceTensor& tensor) const override { return tensor.dtype; }
  std::optional<QuantizedLayout> exact_layout(const SourceTensor& tensor) const override;
  QuantizedMatrix exact_groups(const SourceTensor& tensor) const override;
  void hash(const SourceTensor& tensor, ContentHash& hash) const override;
  int64_t stored_bytes(const SourceTensor& tensor) const override;
  void done(const SourceTensor& tensor) const override;

 protected:
  /// Files of any container, with the text of the model's config.json; nullopt for weights alone.
  SafetensorsSource(const std::filesystem::path& path, std::optional<ModelConfig> config,
                    std::optional<std::string> config_json, StoredModel files);
  void read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const override;
  const TensorView& view(const SourceTensor& tensor) const { return *views_[tensor.index]; }

 private:
  SafetensorsSource(const std::filesystem::path& folder, std::string config_json);

  /// Null for what is a tensor of the file.
  const StackedTensor* stacked(const SourceTensor& tensor) const;
  bool has_mxfp4() const;

  std::optional<std::string> config_json_;
  TensorStore store_;
  std::vector<const TensorView*> views_;     // where a tensor lies, by SourceTensor::index
  std::map<size_t, StackedTensor> stacked_;  // likewise
  std::vector<std::string> notes_;           // what of the files is not as the index says
};

/// Files of a Hugging Face folder that belong to the model but hold neither weights nor its config, in order of name;
/// only those of which `belongs` is true where it is given. Throws Error(io).
std::vector<std::pair<std::string, std::string>> hf_side_files(
    const std::filesystem::path& folder, const std::function<bool(const std::string& name)>& belongs = {});

/// Files of a store's mappings.
std::vector<std::filesystem::path> mapped_paths(const TensorStore& store);

}  // namespace mxq
