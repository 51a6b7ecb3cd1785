// Regular expressions that users type.
#pragma once

#include <memory>
#include <string>

namespace mxq {

/// A regular expression, searched anywhere in a text, byte by byte. It has the syntax of ECMAScript (edition 5, and
/// POSIX classes such as [[:digit:]]): . ^ $ | () (?:) (?=) (?!) [] * + ? {n} {n,} {n,m}, each lazy with ? behind it,
/// \d \D \w \W \s \S \b \B \t \n \r \f \v \0 \cX \xHH \uHHHH, \1 to \99, and \ before any other character that is no
/// letter.
class Pattern {
 public:
  /// `operation` names the option in errors. Throws Error(usage) for what is no such expression, the extensions of
  /// other engines among it.
  Pattern(const std::string& operation, const std::string& expression);
  ~Pattern();
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  /// Ends within a fraction of a second. Throws Error(usage) where the search takes more steps than it may.
  bool found_in(const std::string& text) const;

 private:
  struct Compiled;
  std::string operation_, expression_;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace mxq
