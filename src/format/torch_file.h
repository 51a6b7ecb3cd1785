// Weights that torch.save wrote (.pth, .pt, .bin): a zip archive of a pickle and of the storages that it names.
#pragma once

#include <span>
#include <string>

#include "base/mapped_file.h"
#include "format/stored_model.h"

namespace mxq {

/// The tensors of a state dict, or of the one that a dict holds under "model", "state_dict", "model_state_dict" or
/// "module". A prefix of all names that wrappers of modules put there ("module.", "_orig_mod.") is taken away; entries
/// that are no tensors are left out, and a note says so. In the order in which safetensors has them in a file: by
/// dtype, then by name. Throws what parse_torch_zip() and parse_pickle() throw, Error(unsupported) where there is no
/// state dict or several, and Error(invalid_file) for names that are there twice or are not UTF-8.
StoredTensors parse_torch_file(std::span<const std::byte> file, const std::string& source);

/// The same of a file; ParseTensors.
StoredTensors read_torch_file(const MappedFile& file);

}  // namespace mxq
