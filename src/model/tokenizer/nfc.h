// Unicode's normal form C, as far as telling whether a text is in it.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace mxq {

/// Where the first character stands that the quick check of Unicode Standard Annex 15 does not accept: the text is not
/// in NFC, or may not be (a combining character that could join what is before it). nullopt: the text is in NFC.
/// `text` must be UTF-8. By Unicode 14.
std::optional<size_t> find_not_nfc(std::string_view text);

}  // namespace mxq
