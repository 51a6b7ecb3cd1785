// Tokens that are found in the text as they are, before anything else looks at it: "<|im_end|>".
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

struct AddedToken {
  std::string content;
  uint32_t id = 0;
  bool special = true;
  bool normalized = false;              // looked for in the normalized text
  bool lstrip = false, rstrip = false;  // takes the white space before or after it along
  bool single_word = false;             // not right beside a letter, digit or underscore
};

/// Finds them, the leftmost first, of those that begin there the longest.
class AddedTokens {
 public:
  AddedTokens() = default;
  explicit AddedTokens(std::vector<AddedToken> tokens);

  /// A part of a text: one token, or what lies between two.
  struct Section {
    std::string_view text;
    const AddedToken* token = nullptr;
  };
  /// The sections in order, none empty. Without `special`, special tokens are plain text, as are others that overlap
  /// them.
  std::vector<Section> split(std::string_view text, bool special) const;

  bool empty() const { return tokens_.empty(); }

 private:
  const AddedToken* longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;  // by content
  std::array<bool, 256> first_{};   // bytes that a token begins with
};

}  // namespace mxq
