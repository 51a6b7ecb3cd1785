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

/// Marks and characters with a decomposition that came after Unicode 9, which the package tokenizers normalizes by:
/// they stay as they are, neither put in order nor composed. Only for characters of that kind.
bool is_unknown_to_unicode_9(uint32_t character);

/// Each character by itself in lower case. `text` must be UTF-8, here and below.
std::string to_lower_case(std::string_view text);
/// Without marks (the categories Mn, Mc and Me of Unicode 9).
std::string without_marks(std::string_view text);
/// Without the white space at the beginning or the end.
std::string stripped(std::string_view text, bool left, bool right);

/// Without control characters, and with a blank for each tab, line break and other white space: what the normalizer Nmt
/// of the package tokenizers does.
std::string without_controls(std::string_view text);

/// Bytes of the white space that `text` begins with, and that it ends with.
size_t leading_white_space(std::string_view text);
size_t trailing_white_space(std::string_view text);

}  // namespace mxq
