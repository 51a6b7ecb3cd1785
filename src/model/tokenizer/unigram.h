// Unigram: of all ways to spell a word in tokens, the likeliest.
// Source: Kudo, "Subword Regularization" (ACL 2018); the search and the rules for unknown characters are those of
// SentencePiece as the package tokenizers has them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

class Unigram {
 public:
  /// `scores` are log-probabilities by id; `tokens`, at least as many, spell the ids. `bytes`: the byte tokens that
  /// stand for what has no token (-1: none); empty: `unknown` stands for it.
  Unigram(const std::vector<std::string>& tokens, std::vector<double> scores, std::optional<uint32_t> unknown,
          std::optional<std::array<int32_t, 256>> bytes);

  /// Memory that calls share; not for two threads at once.
  struct Scratch {
    std::vector<double> best;
    std::vector<int32_t> last;
    std::vector<int32_t> path;
  };

  /// Appends the ids of `word`, which must be UTF-8: the path with the highest sum of scores; of equal ones the one
  /// that was found first, whose last token is the longest. A character that is no token costs 10 more than the least
  /// likely token; neighbours of that kind become one unknown token, or bytes. Returns false where such a character is,
  /// and there is no unknown token; the ids are of no use then.
  bool encode(std::string_view word, std::vector<int32_t>& ids, Scratch& scratch) const;

 private:
  struct Node {
    uint32_t first_child = 0;
    uint16_t children = 0;  // lie side by side, by byte
    uint8_t byte = 0;
    int32_t id = -1;  // of the token that ends here; -1: none does
  };

  const Node* child(const Node& node, char byte) const;
  int32_t find(std::string_view token) const;
  bool put_unknown(std::string_view text, std::vector<int32_t>& ids) const;

  std::vector<Node> nodes_;  // the root first
  std::vector<double> scores_;
  std::vector<uint32_t> lengths_;  // of tokens, by id, in bytes
  double unknown_score_ = 0;
  size_t longest_ = 0;
  std::optional<uint32_t> unknown_;
  std::optional<std::array<int32_t, 256>> bytes_;
};

}  // namespace mxq
