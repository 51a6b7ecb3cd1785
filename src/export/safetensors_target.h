// What targets have in common that are folders of safetensors in which each planned matrix has tensors of its own, and
// all else is in one float dtype.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "export/model_folder.h"
#include "export/target.h"

namespace mxq {

class SafetensorsTarget : public FolderTarget {
 public:
  /// The sum of the matrix's tensors.
  int64_t matrix_bytes(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols) const override;
  RestBytes rest(const ModelSource& model, const std::vector<const SourceTensor*>& matrices) const override;
  /// Of what model_tensors() has, all but the planned matrices is written as plain_dtype(). Tensors with longer
  /// elements stand first, else readers would not find them at multiples of their elements' size.
  WriteReport write(const Export& what, const OutputPlace& out, const WriteOptions& options,
                    Progress* progress) const override;

 protected:
  /// All that a folder says about its matrices.
  struct Contents {
    const ModelSource& model;
    const QuantizeOptions& options;
    DType dtype;                                                            // of what is not quantized
    std::vector<std::pair<const SourceTensor*, QuantizedLayout>> matrices;  // planned
    std::vector<const SourceTensor*> kept;                                  // not quantized
  };

  /// The tensors of a matrix, together or in parts; `make`, which may be called once, is empty where only bytes are
  /// asked for.
  virtual std::vector<OutputTensors> matrix_outputs(const std::string& name, const QuantizedLayout& layout,
                                                    std::function<QuantizedMatrix()> make) const = 0;
  /// The layout whose tensors take the longest header.
  virtual QuantizedLayout widest_layout(int64_t rows, int64_t cols) const = 0;
  /// All that the runtime wants of the model, in files' order; `notes` get a sentence where others are left out. Throws
  /// Error(unsupported).
  virtual std::vector<const SourceTensor*> model_tensors(const ModelSource& model,
                                                         std::vector<std::string>& notes) const = 0;
  virtual DType plain_dtype(const QuantizeOptions& options) const = 0;
  /// Files beside the shards, by name: config.json, and what else speaks of the matrices.
  virtual std::vector<std::pair<std::string, std::string>> config_files(const Contents& contents) const = 0;
  /// Of each shard.
  virtual const SafetensorsMetadata& shard_metadata() const { return kTorchMetadata; }
  /// Of the shards' names.
  virtual std::string_view shard_ending() const { return kSafetensorsEnding; }
  /// Files that say where in the shards tensors lie, beside config_files().
  virtual std::vector<std::pair<std::string, std::string>> layout_files(const Contents& contents,
                                                                        const ShardLayout& layout) const {
    (void)contents;
    (void)layout;
    return {};
  }
  /// What `allowed` of an error says where holds() is false: "groups that divide its columns".
  virtual std::string holds_what() const = 0;

  /// "write NAME".
  std::string operation() const;

 private:
  void check_plan(const Export& what) const;
  std::vector<const SourceTensor*> kept_tensors(const ModelSource& model,
                                                const std::vector<const SourceTensor*>& planned,
                                                std::vector<std::string>& notes) const;
};

}  // namespace mxq
