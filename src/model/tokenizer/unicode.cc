#include "model/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "base/utf8.h"

namespace mxq {

namespace {

bool is_mark(utf8proc_category_t category) {
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

utf8proc_category_t category_of(uint32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

struct Range {
  uint32_t first, last;
};
// Marks, and what has a decomposition, of Unicode 10 to 15.
constexpr Range kYoung[] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xafa, 0xaff},
    {0xb55, 0xb55},     {0xc04, 0xc04},     {0xc3c, 0xc3c},     {0xcf3, 0xcf3},     {0xd00, 0xd00},
    {0xd3b, 0xd3c},     {0xd81, 0xd81},     {0xeba, 0xeba},     {0xece, 0xece},     {0x1715, 0x1715},
    {0x180f, 0x180f},   {0x1abf, 0x1ace},   {0x1cf7, 0x1cf7},   {0x1df6, 0x1dfa},   {0x32ff, 0x32ff},
    {0xa7f2, 0xa7f4},   {0xa82c, 0xa82c},   {0xa8ff, 0xa8ff},   {0xab69, 0xab69},   {0x10781, 0x10785},
    {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x11073, 0x11074}, {0x110c2, 0x110c2},
    {0x11145, 0x11146}, {0x111c9, 0x111c9}, {0x111ce, 0x111cf}, {0x11241, 0x11241}, {0x1133b, 0x1133b},
    {0x1145e, 0x1145e}, {0x1182c, 0x1183a}, {0x11930, 0x11935}, {0x11937, 0x11938}, {0x1193b, 0x1193e},
    {0x11940, 0x11940}, {0x11942, 0x11943}, {0x119d1, 0x119d7}, {0x119da, 0x119e0}, {0x119e4, 0x119e4},
    {0x11a01, 0x11a0a}, {0x11a33, 0x11a39}, {0x11a3b, 0x11a3e}, {0x11a47, 0x11a47}, {0x11a51, 0x11a5b},
    {0x11a8a, 0x11a99}, {0x11d31, 0x11d36}, {0x11d3a, 0x11d3a}, {0x11d3c, 0x11d3d}, {0x11d3f, 0x11d45},
    {0x11d47, 0x11d47}, {0x11d8a, 0x11d8e}, {0x11d90, 0x11d91}, {0x11d93, 0x11d97}, {0x11ef3, 0x11ef6},
    {0x11f00, 0x11f01}, {0x11f03, 0x11f03}, {0x11f34, 0x11f3a}, {0x11f3e, 0x11f42}, {0x13440, 0x13440},
    {0x13447, 0x13455}, {0x16f4f, 0x16f4f}, {0x16f7f, 0x16f87}, {0x16fe4, 0x16fe4}, {0x16ff0, 0x16ff1},
    {0x1cf00, 0x1cf2d}, {0x1cf30, 0x1cf46}, {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136},
    {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
};

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

bool is_unknown_to_unicode_9(uint32_t c) {
  const auto found = std::lower_bound(std::begin(kYoung), std::end(kYoung), c,
                                      [](const Range& range, uint32_t value) { return range.last < value; });
  return found != std::end(kYoung) && found->first <= c;
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
    const bool was_mark = c == 0x1cf2 || c == 0x1cf3;  // letters since
    if (!was_mark && (!is_mark(category_of(c)) || is_unknown_to_unicode_9(c))) result += bytes;
  });
  return result;
}

std::string without_controls(std::string_view text) {
  std::string result;
  for_each_character(text, [&](uint32_t c, std::string_view bytes) {
    if (c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
        c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd) {
      result += ' ';
    } else if ((c == 0 || c >= 0x20) && c != 0x7f && c != 0x8f && c != 0x9f) {
      result += bytes;
    }
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
