// Reading safetensors: https://github.com/huggingface/safetensors#format
//
//   u64 little-endian N, at most 100,000,000
//   N bytes           JSON object: name -> {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, offsets
//                     counted from the end of the header; "__metadata__" -> object of strings; trailing spaces
//   the rest          the tensors' bytes, row-major little-endian, without holes or overlaps
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor_store.h"
#include "mxq/tensor.h"

namespace mxq {

struct SafetensorsHeader {
  std::vector<TensorView> tensors;  // in the order of their bytes
  std::map<std::string, std::string> metadata;
};

/// The tensors of a whole file in memory; the views point into `file`. Bytes may be unaligned for their dtype.
/// `source` names the file in errors. Throws Error(invalid_file) for whatever breaks the format, as strictly as the
/// official reader (and also for metadata keys given twice), Error(unsupported) for a dtype that mxq does not have.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& source);

/// The weight_map of a model.safetensors.index.json: tensor name -> shard's file name. Throws Error(invalid_file) for
/// anything malformed, among it a shard that is not a plain file name (it must lie in the index's own folder).
std::map<std::string, std::string> parse_shard_index(std::string_view json, const std::string& source);

/// A .safetensors file, or a folder with model.safetensors.index.json (obeyed where there is one: it and the shards
/// must name the same tensors in the same files) or model.safetensors. Nothing but headers is read.
/// Throws Error(not_found) for a missing file, folder or shard, and all that the two functions above throw.
TensorStore open_safetensors(const std::filesystem::path& path);

}  // namespace mxq
