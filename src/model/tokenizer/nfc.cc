#include "model/tokenizer/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/utf8.h"
#include "model/tokenizer/unicode.h"
#include "mxq/error.h"

namespace mxq {

namespace {

// Starters that compose with nothing, so texts may be cut around them: nothing is put in order across them either.
// utf8proc 2.8 takes U+11A7 for a final consonant of Hangul and drops it.
bool stays_apart(uint32_t character) {
  return character == 0x11a7 || is_unknown_to_unicode_9(character);
}

void append(std::string_view text, utf8proc_option_t options, std::string& out) {
  // ASCII is in all forms already, and what most texts consist of.
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) {
    out += text;
    return;
  }
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &result, options);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  if (size < 0) throw Error(ErrorCode::invalid_file, "normalize a text", utf8proc_errmsg(size));
  out.append(reinterpret_cast<const char*>(result), static_cast<size_t>(size));
}

}  // namespace

std::string to_normal_form(std::string_view text, NormalForm form) {
  const bool composed = form == NormalForm::nfc || form == NormalForm::nfkc;
  const bool compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | (compatible ? UTF8PROC_COMPAT : 0) |
                                                      (composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE));
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    const size_t length = character_length(rest);
    if (length > 1 && stays_apart(first_character(rest))) {
      append(text.substr(0, at), options, result);
      result += rest.substr(0, length);
      text = rest.substr(length);
      at = 0;
    } else {
      at += length;
    }
  }
  append(text, options, result);
  return result;
}

}  // namespace mxq
