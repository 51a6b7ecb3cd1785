#include "base/pattern.h"

#include <fmt/format.h>

#include <regex>

#include "mxq/error.h"

namespace mxq {

struct Pattern::Compiled {
  std::regex regex;
};

namespace {

[[noreturn]] void refuse(const std::string& operation, const std::string& expression, const std::regex_error& error) {
  throw Error(ErrorCode::usage, operation,
              fmt::format("'{}' is not a regular expression ({})", expression, error.what()));
}

}  // namespace

Pattern::Pattern(const std::string& operation, const std::string& expression)
    : operation_(operation), expression_(expression), compiled_(std::make_unique<Compiled>()) {
  try {
    compiled_->regex = std::regex(expression, std::regex::ECMAScript);
  } catch (const std::regex_error& error) {
    refuse(operation, expression, error);
  }
}

Pattern::~Pattern() = default;

bool Pattern::found_in(const std::string& text) const {
  try {
    return std::regex_search(text, compiled_->regex);
  } catch (const std::regex_error& error) {
    refuse(operation_, expression_, error);
  }
}

}  // namespace mxq
