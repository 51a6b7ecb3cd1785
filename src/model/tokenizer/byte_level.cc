#include "model/tokenizer/byte_level.h"

#include <array>

#include "base/utf8.h"

namespace mxq {

namespace {

constexpr int kNone = -1;
constexpr uint32_t kFirstSubstitute = 0x100;

struct Alphabet {
  std::array<uint16_t, 256> character{};
  std::array<int16_t, kFirstSubstitute + 68> byte{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte) byte = kNone;
  uint32_t substitute = kFirstSubstitute;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    const uint32_t character = printable ? byte : substitute++;
    alphabet.character[byte] = static_cast<uint16_t>(character);
    alphabet.byte[character] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string byte_level_character(uint8_t byte) {
  std::string text;
  append_character(kAlphabet.character[byte], text);
  return text;
}

std::optional<std::string> byte_level_bytes(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const uint32_t character = first_character(text);
    if (character >= kAlphabet.byte.size() || kAlphabet.byte[character] == kNone) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte[character]);
    text.remove_prefix(character_length(text));
  }
  return bytes;
}

}  // namespace mxq
