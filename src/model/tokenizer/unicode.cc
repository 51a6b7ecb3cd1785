#include "model/tokenizer/unicode.h"

#include <utf8proc.h>

#include "base/utf8.h"

namespace mxq {

namespace {

bool is_mark(utf8proc_category_t category) {
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

utf8proc_category_t category_of(uint32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

template <typename Each>
void for_each_character(std::string_view text, const Each& each) {
  while (!text.empty()) {
    const size_t length = character_length(text);
    each(first_character(text), text.substr(0, length));
    text.remove_prefix(length);
  }
}

}  // namespace

bool is_white_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_word_character(uint32_t c) {
  if (c == 0x200c || c == 0x200d) return true;
  // Other_Alphabetic beyond the marks: letters within circles and squares.
  if ((c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
      (c >= 0x1f170 && c <= 0x1f189)) {
    return true;
  }
  const auto category = category_of(c);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) || is_mark(category) ||
         category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_PC;
}

std::string to_lower_case(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for_each_character(text, [&](uint32_t c, std::string_view) {
    if (c == 0x130) {  // the one character that becomes two
      result += "i\u0307";
    } else {
      append_character(static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), result);
    }
  });
  return result;
}

std::string without_marks(std::string_view text) {
  std::string result;
  for_each_character(text, [&](uint32_t c, std::string_view bytes) {
    if (!is_mark(category_of(c))) result += bytes;
  });
  return result;
}

size_t leading_white_space(std::string_view text) {
  size_t count = 0;
  while (count < text.size() && is_white_space(first_character(text.substr(count)))) {
    count += character_length(text.substr(count));
  }
  return count;
}

size_t trailing_white_space(std::string_view text) {
  size_t count = 0;
  while (count < text.size()) {
    size_t at = text.size() - count - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
    if (!is_white_space(first_character(text.substr(at)))) break;
    count = text.size() - at;
  }
  return count;
}

std::string stripped(std::string_view text, bool left, bool right) {
  if (left) text.remove_prefix(leading_white_space(text));
  if (right) text.remove_suffix(trailing_white_space(text));
  return std::string(text);
}

}  // namespace mxq
