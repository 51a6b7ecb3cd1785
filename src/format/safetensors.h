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

#include "format/stored_model.h"
#include "format/tensor_store.h"
#include "mxq/tensor.h"

namespace mxq {

struct SafetensorsHeader {
  std::vector<TensorView> tensors;  // in the order of their bytes
  std::map<std::string, std::string> metadata;
};

/// The tensors of a whole file in memory; the views point into `file`. Bytes may be unaligned for their dtype.
/// `source` names the file in errors. Throws Error(invalid_file) for whatever breaks the format, as strictly as the
/// official reader (and also for metadata keys given twice), Error(unsupported) for what cannot
/// be a dtype's name. Dtypes with which mxq does not compute are foreign ones (base/foreign_dtype.h); where their size
/// is not known, the offsets say it.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& source);

/// The tensors of a .safetensors file.
StoredTensors read_safetensors(const MappedFile& file);

/// A .safetensors file, or a folder with model.safetensors (which wins over an index beside it, as in transformers) or
/// model.safetensors.index.json (open_shards()). Nothing but headers is read. Throws Error(not_found) for a missing
/// file or folder, and all that parse_safetensors() and open_shards() throw.
StoredModel open_safetensors_model(const std::filesystem::path& path);

/// As above, and all that the index names is there.
TensorStore open_safetensors(const std::filesystem::path& path);

}  // namespace mxq
