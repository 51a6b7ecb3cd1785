// Properties of characters, as Rust's standard library and regular expressions have them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mxq {

/// White_Space.
bool is_white_space(uint32_t character);
/// \w: Alphabetic, marks, decimal digits, connectors such as _, and the two joiners.
bool is_word_character(uint32_t character);

/// Each character by itself in lower case. `text` must be UTF-8, here and below.
std::string to_lower_case(std::string_view text);
/// Without marks (the categories Mn, Mc and Me).
std::string without_marks(std::string_view text);
/// Without the white space at the beginning or the end.
std::string stripped(std::string_view text, bool left, bool right);

/// Bytes of the white space that `text` begins with, and that it ends with.
size_t leading_white_space(std::string_view text);
size_t trailing_white_space(std::string_view text);

}  // namespace mxq
