// Regular expressions that users type.
#pragma once

#include <memory>
#include <string>

namespace mxq {

/// An ECMAScript regular expression, searched anywhere in a text.
class Pattern {
 public:
  /// `operation` names the option in errors. Throws Error(usage) for what is no regular expression.
  Pattern(const std::string& operation, const std::string& expression);
  ~Pattern();
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  /// Throws Error(usage) where the search takes more memory or steps than the expression engine allows.
  bool found_in(const std::string& text) const;

 private:
  struct Compiled;
  std::string operation_, expression_;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace mxq
