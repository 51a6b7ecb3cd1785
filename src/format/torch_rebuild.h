// What the globals of torch_globals() make of their arguments: tensors, checked against the storages that hold them.
#pragma once

#include <cstdint>
#include <string>

#include "format/pickle_value.h"
#include "format/torch_zip.h"

namespace mxq {

/// The storage that a persistent id stands for: ("storage", type, key, device, elements). Throws Error(invalid_file)
/// for another id, a key that the archive lacks, and a number of elements that its bytes are not.
PickleValue torch_storage(PickleValues& all, uint32_t id, const TorchZip& archive, const std::string& operation);

/// called(*arguments), of a global and a tuple. A tensor has been checked: no negative or overflowing extent, stride or
/// offset, all elements in its storage, and no more of them than the storage has. Throws Error(invalid_file) for what
/// is not so, Error(unsupported) for what is called besides the globals, and for tensors whose values are not those of
/// their storage (a lazy negative or conjugate).
PickleValue torch_call(PickleValues& all, uint32_t called, uint32_t arguments, const std::string& operation);

}  // namespace mxq
