// How every target that is a folder of safetensors is written: shards, index, config and side files, all or nothing.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/safetensors_writer.h"
#include "model/model_source.h"
#include "mxq/progress.h"
#include "mxq/quantize_model.h"
#include "mxq/quantized_matrix.h"

namespace mxq {

/// Some tensors that stay in one shard, and how their bytes are made when their turn comes.
struct OutputTensors {
  std::vector<TensorSpec> specs;
  int64_t work = 0;  // weights, for the progress bar
  std::function<void(SafetensorsWriter&)> write;
};

/// A quantized matrix under its stored names; `make` is called when its turn comes. Writing throws Error(not_finite)
/// for one whose numbers (scales and the like) are none.
OutputTensors quantized_output(const std::string& name, const QuantizedLayout& layout,
                               std::function<QuantizedMatrix()> make);

/// What becomes of a float tensor that holds NaN or infinities: refused by name, or copied as it is and told in the
/// notes. Infinities of a tensor that is neither a weight nor a bias (a mask) are copied, what is quantized is refused
/// either way.
enum class NotFinite { refuse, copy };

/// A tensor written as `dtype`: copied byte by byte where that is what is stored, else converted to F64, F32, F16 or
/// BF16 a few rows at a time. Writing throws Error(unsupported) naming tensor and value where `dtype` would make a
/// finite value infinite, Error(not_finite) for what is refused; of values that it makes 0, `notes` get a sentence. All
/// three must outlive it.
OutputTensors plain_output(const ModelSource& model, const SourceTensor& tensor, DType dtype, NotFinite policy,
                           std::vector<std::string>& notes);

/// Throws Error(unsupported) naming the first of `count` rows' values, from row `first` on, that `dtype` makes
/// infinite; adds to `zeros` how many it makes 0.
void require_fit(const SourceTensor& tensor, int64_t first, int64_t count, const float* values, DType dtype,
                 int64_t& zeros);
/// What `notes` get of a tensor whose `elements` become 0 in part.
void note_zeros(const std::string& name, int64_t zeros, int64_t elements, DType dtype, std::vector<std::string>& notes);

/// What transformers looks for.
inline const SafetensorsMetadata kTorchMetadata{{"format", "pt"}};

inline constexpr std::string_view kSafetensorsEnding = ".safetensors";

/// Where a folder has the plan that it was made by.
inline constexpr const char* kPlanName = "mxq-plan.json";

struct FolderContents {
  std::vector<OutputTensors> tensors;
  std::vector<std::pair<std::string, std::string>> files;  // name, text; written beside the shards
  std::string key;                                         // the same for runs that make the same bytes
  SafetensorsMetadata metadata = kTorchMetadata;           // of each shard
  std::string_view ending = kSafetensorsEnding;            // of the names of shards; with another there is no index
  /// Files that say in which shard tensors lie, and where; empty: none but the index.
  std::function<std::vector<std::pair<std::string, std::string>>(const ShardLayout& layout)> files_of_layout = {};
};

/// The side files of the model (tokenizer, ...) are added to contents.files.
WriteReport write_model_folder(const ModelSource& model, const FolderContents& contents, const OutputFolder& out,
                               const WriteOptions& options, Progress* progress);

/// Bytes of a tensor whose dtype mxq only copies; nullopt of others.
std::optional<int64_t> foreign_bytes(const ModelSource& model, const SourceTensor& tensor);

/// The safetensors header of so many tensors in one file, and what one more file adds to that at most.
int64_t header_bytes(const std::vector<TensorSpec>& specs, const SafetensorsMetadata& metadata = kTorchMetadata);
inline constexpr int64_t kShardOverhead = 256;

}  // namespace mxq
