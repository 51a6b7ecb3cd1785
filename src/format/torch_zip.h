// The zip archives that torch.save writes since PyTorch 1.6:
//
//   NAME/data.pkl       the pickle (format/torch_file.h)
//   NAME/data/KEY       the bytes of a storage; KEY is a decimal number
//   NAME/byteorder      "little" or "big"; absent in files of PyTorch before 2.0, which are little-endian
//   NAME/...            a version and the like, which are not needed
//
// Entries are stored, not compressed, and lie in the file without overlaps; sizes are in the central directory, in its
// zip64 form where they need it: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace mxq {

/// Views into the file.
struct TorchZip {
  std::span<const std::byte> pickle;
  std::map<std::string, std::span<const std::byte>, std::less<>> storages;  // by key
};

/// Every offset and size has been checked against the file; checksums are not. Throws Error(invalid_file) for whatever
/// breaks the format, names that come twice and entries that overlap; Error(unsupported) for compressed and encrypted
/// entries, for files of big-endian machines, and for archives that are not torch.save's (TorchScript among them).
/// `source` names the file in errors.
TorchZip parse_torch_zip(std::span<const std::byte> file, const std::string& source);

}  // namespace mxq
