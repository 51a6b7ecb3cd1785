// GGUF models in several files, as llama-gguf-split and the gguf package write them: NAME-00001-of-00003.gguf and so
// on. The first part has the metadata, each part some of the tensors.
#pragma once

#include <cstdint>
#include <vector>

#include "base/mapped_file.h"
#include "format/gguf.h"

namespace mxq {

/// What a file says of itself (split.no, which counts from 0, and split.count): part 1 of 1 where it is a whole model.
struct GgufPart {
  int64_t number = 1;
  int64_t count = 1;
};
/// Throws Error(invalid_file) for a number that is none of 1 to count, and a count above 99999.
GgufPart gguf_part(const GgufFile& file);

/// Throws as gguf_part, Error(invalid_file) where the file of a part has another name than its metadata say, and
/// Error(unsupported), which names the first part, for a later one.
void check_first_part(const GgufFile& file, const std::filesystem::path& path);

/// One file of all parts, which come in their order: the first one's metadata and every part's tensors.
/// Throws Error(invalid_file), which names the part, where the parts are not all those of one model: a number out of
/// order, another count, metadata that contradict the first part's, a tensor that two parts have, another number of
/// tensors than split.tensors.count.
GgufFile join_gguf_parts(std::vector<GgufFile> parts);

/// A model and the files that it lies in; views point into the mappings.
struct MappedGguf {
  std::vector<MappedFile> files;
  GgufFile model;
};
/// The model in a file, or in the parts of which it is the first: the others lie beside it. Throws as parse_gguf and
/// the functions above, and Error(not_found) naming a part that is missing.
MappedGguf open_gguf(MappedFile first);

}  // namespace mxq
