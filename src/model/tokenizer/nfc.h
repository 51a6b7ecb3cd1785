// Unicode's normal form C.
#pragma once

#include <string>
#include <string_view>

namespace mxq {

/// Canonical decomposition, then composition (Unicode Standard Annex 15). `text` must be UTF-8.
std::string to_nfc(std::string_view text);

}  // namespace mxq
