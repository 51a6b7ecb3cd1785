// GPT-2's alphabet: each of the 256 bytes as one printable character, so that a vocabulary of bytes is text.
// Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019). Printable bytes of Latin-1
// stand for themselves; the other 68 are U+0100 and up, in order: a blank is U+0120.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mxq {

/// The character, as UTF-8, that stands for the byte.
std::string byte_level_character(uint8_t byte);

/// The bytes that valid UTF-8 stands for; nullopt if a character of it stands for none.
std::optional<std::string> byte_level_bytes(std::string_view text);

}  // namespace mxq
