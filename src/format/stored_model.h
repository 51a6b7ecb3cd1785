// The tensors of a model that lies in one file or in several, of any container that names them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor_store.h"

namespace mxq {

/// What one file holds.
struct StoredTensors {
  std::vector<TensorView> tensors;  // in the order in which the model has them
  /// Of those whose elements do not lie one behind the other, in elements: `bytes` of such a view begin with the first
  /// element and end behind the last (format/strided.h).
  std::map<std::string, std::vector<int64_t>> strides = {};
  std::vector<std::string> notes = {};  // a sentence each
};

/// Throws what its format's parser throws.
using ParseTensors = std::function<StoredTensors(const MappedFile& file)>;

/// A tensor that an index names and no shard holds: where it should be, and whether that shard is missing.
struct AbsentTensor {
  std::string shard;
  bool shard_is_missing = false;
};

struct StoredModel {
  TensorStore store;
  std::map<std::string, std::vector<int64_t>> strides;  // as of StoredTensors
  std::map<std::string, AbsentTensor> absent;
  std::vector<std::string> notes;  // how the files differ from their index, a sentence each
  std::filesystem::path index;     // empty where there is none

  /// All tensors of one file. Throws Error(invalid_file) if one is there already.
  void add(std::shared_ptr<const MappedFile> file, StoredTensors tensors);

  /// Throws Error(not_found) or Error(invalid_file) for one of `absent`.
  [[noreturn]] void refuse_absent(const std::string& name) const;
};

/// The weight_map of an index, as of model.safetensors.index.json: tensor name -> shard's file name. Throws
/// Error(invalid_file) for anything malformed, among it a shard that does not lie in the index's own folder or below.
std::map<std::string, std::string> parse_shard_index(std::string_view json, const std::string& source);

/// All tensors of the shards that the index names, wherever it says that they lie; a tensor may be in two of them with
/// the same values. Throws what parse_shard_index() and `parse` throw.
StoredModel open_shards(const std::filesystem::path& index, const ParseTensors& parse);

/// Certainly not there. What cannot be told (no permission, a name too long) is left to opening, which says why.
bool is_missing(const std::filesystem::path& path);

}  // namespace mxq
