// Cuts text into words by a regular expression (PCRE2), as the pre-tokenizers of Hugging Face's tokenizers do.
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
};

class Splitter {
 public:
  /// `operation` heads the errors. Throws Error(unsupported) for what PCRE2 does not take as a regular expression.
  Splitter(std::string operation, const SplitRule& rule);
  ~Splitter();
  Splitter(Splitter&&) noexcept;

  /// The parts of all `pieces`, which are UTF-8, in order; empty ones are left out. Each piece is looked at alone.
  /// Throws Error(unsupported) where a match takes more steps or memory than allowed. Thread-safe.
  std::vector<std::string_view> split(const std::vector<std::string_view>& pieces) const;

 private:
  struct Compiled;
  std::string operation_;
  SplitRule rule_;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace mxq
