// Cuts text into words by a regular expression (Oniguruma's, run by PCRE2), as the pre-tokenizers of Hugging Face's
// tokenizers do.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

/// What becomes of the matches: words of their own, nothing, or part of a neighbour.
enum class SplitBehavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };

struct SplitRule {
  std::string pattern;
  bool literal = false;  // the pattern is a plain string
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  // what lies between the matches counts as matches
  bool operator==(const SplitRule&) const = default;
};

class Splitter {
 public:
  /// `operation` heads the errors. Throws what pcre2_of_oniguruma() throws, Error(unsupported) for what PCRE2 does not
  /// take.
  Splitter(std::string operation, const SplitRule& rule);
  ~Splitter();
  Splitter(Splitter&&) noexcept;

  /// The parts of all `pieces`, which are UTF-8, in order; empty ones are left out. A match of nothing cuts, too. Each
  /// piece is looked at alone. Throws Error(unsupported) where a match takes more steps or memory than allowed.
  /// Thread-safe.
  std::vector<std::string_view> split(const std::vector<std::string_view>& pieces) const;
  /// `text` with `to` for each match, those of nothing included; the empty text stays empty. Throws likewise.
  std::string replace(std::string_view text, std::string_view to) const;

 private:
  struct Compiled;
  class Matcher;
  std::string operation_;
  SplitRule rule_;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace mxq
