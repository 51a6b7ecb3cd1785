// Dtypes of safetensors files with which mxq does not compute: tensors of them are carried by name, as bytes.
#pragma once

#include <string_view>

#include "mxq/tensor.h"

namespace mxq {

/// The dtype of that name ("F8_E4M3", "U16", or one that a later version of safetensors adds): beyond DType's own
/// enumerators, the same value for the same name during the whole process. dtype_name() gives the name back, and
/// dtype_block_bytes() a whole number of bytes an element, 1 where it is none or not known; dtype_bytes() says nothing
/// about it, for how much a tensor takes is for its file to say. Thread-safe.
/// Throws Error(unsupported) for a name longer than 32 characters, with others than letters, digits and '_', or beyond
/// the first 256 names.
DType foreign_dtype(std::string_view name);

/// The dtype that safetensors calls so: one of DType's own that are no GGUF blocks, or foreign_dtype() of the name.
DType safetensors_dtype(std::string_view name);

/// Whether it is one of those.
bool is_foreign(DType dtype);

/// Bits of an element; 0 where that is not known.
int foreign_bits(DType dtype);

}  // namespace mxq
