// UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mxq {

/// Bytes of the character that `text` (not empty) begins with; 0 if it begins with none.
size_t character_length(std::string_view text);

/// Where the first byte stands that is not UTF-8; nullopt if all is.
std::optional<size_t> find_invalid_utf8(std::string_view text);

/// The character that valid `text` (not empty) begins with.
uint32_t first_character(std::string_view text);

void append_character(uint32_t character, std::string& out);

}  // namespace mxq
