// Reading the pickle of a torch.save archive. A pickle is a program for a stack machine; this is a machine that knows
// only how to build values and the tensors of torch_globals(). It calls, imports and runs nothing.
#pragma once

#include <cstdint>
#include <string>

#include "format/pickle_value.h"
#include "format/torch_zip.h"

namespace mxq {

struct Pickle {
  PickleValues values;
  uint32_t root = 0;
};

/// Protocols 2 to 5. All tensors and storages have been checked against the archive; views point into it. Throws
/// Error(unsupported) for opcodes and globals that torch.save does not need for weights, by name, and
/// Error(invalid_file) for whatever breaks the format, is beyond what any model needs (100 MB, 2^22 values), or points
/// outside a storage. `source` names the file in errors.
Pickle parse_pickle(const TorchZip& archive, const std::string& source);

}  // namespace mxq
