// Writes a model's folder: shards, index, config and side files, all or nothing.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
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

/// A quantized matrix under its stored names; `make` is called when its turn comes. Writing throws Error(not_finite) for
/// one whose numbers (scales and the like) are none.
OutputTensors quantized_output(const std::string& name, const QuantizedLayout& layout,
                               std::function<QuantizedMatrix()> make);

/// What becomes of a float tensor that holds NaN or infinities: refused by name, or copied as it is and told in the
/// notes. Infinities of a tensor that is neither a weight nor a bias (a mask) are copied, what is quantized is refused
/// either way.
enum class NotFinite { refuse, copy };

/// A tensor written as `dtype`: copied byte by byte where that is what is stored, else converted to F64, F32, F16 or BF16
/// a few rows at a time. Writing throws Error(unsupported) naming tensor and value where `dtype` would make a finite
/// value infinite, Error(not_finite) for what is refused; of values that it makes 0, `notes` get a sentence. All three
/// must outlive it.
OutputTensors plain_output(const ModelSource& model, const SourceTensor& tensor, DType dtype, NotFinite policy,
                           std::vector<std::string>& notes);

struct FolderContents {
  std::vector<OutputTensors> tensors;
  std::vector<std::pair<std::string, std::string>> files;  // name, text; written beside the shards
  std::string key;                                         // the same for runs that make the same bytes
};

/// The side files of the model (tokenizer, ...) are added to contents.files.
WriteReport write_model_folder(const ModelSource& model, const FolderContents& contents,
                               const OutputFolder& out, const WriteOptions& options, Progress* progress);

/// A tensor that a checkpoint holds besides the planned matrices, with the values that it has.
struct KeptTensor {
  const SourceTensor* tensor = nullptr;
  DType dtype = DType::f16;               // where it is stored as floats
  std::optional<int64_t> stored;          // bytes, where it is stored as one of the foreign dtypes
  std::optional<QuantizedLayout> groups;  // where its own blocks are kept (ModelSource::exact_layout)

  std::vector<TensorSpec> specs() const;
};

/// All tensors that are not among `matrices`, but for a tied copy (find_tied_copy), in the order in which a checkpoint stores them: floats first, wide dtypes
/// before narrow ones, so that each is aligned.
std::vector<KeptTensor> kept_tensors(const ModelSource& model, const std::vector<const SourceTensor*>& matrices);

/// At least what all safetensors headers of a checkpoint of the model take, whatever the plan.
int64_t header_bound(const ModelSource& model, const std::vector<const SourceTensor*>& matrices);

}  // namespace mxq
