#include "base/pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>

#include "base/pcre2_handles.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr size_t kLongest = 1 << 14;
/// Steps and memory of one search.
constexpr uint32_t kSteps = 5'000'000, kHeapKiB = 64 << 10;
/// A repetition of a repetition multiplies: what PCRE2 makes of it may take as much.
constexpr size_t kLargestCode = size_t{16} << 20;

using namespace pcre2;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// Walks an expression and finds what PCRE2 would take for something else than ECMAScript does.
class Syntax {
 public:
  explicit Syntax(std::string_view text) : text_(text) {}

  /// What is wrong, in words; empty where nothing is. What PCRE2 refuses as well is left to it.
  std::string problem() {
    while (problem_.empty() && at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        bracket();
      } else if (c == '(') {
        group();
      } else if (c == '*' || c == '+' || c == '?' || c == '{') {
        quantifier();
      } else {
        repeatable_ = c != '|' && c != '^';
        ++at_;
      }
    }
    if (problem_.empty() && reference_ > groups_) problem_ = fmt::format("\\{} refers to no group", reference_);
    return problem_;
  }

 private:
  char at(size_t offset) const { return at_ + offset < text_.size() ? text_[at_ + offset] : '\0'; }
  void refuse(size_t length) {
    problem_ = fmt::format("'{}' is not of ECMAScript", text_.substr(at_, std::min(length, text_.size() - at_)));
  }
  bool hex(size_t from, size_t count) const {
    for (size_t i = from; i < from + count; ++i) {
      if (!std::isxdigit(static_cast<unsigned char>(at(i)))) return false;
    }
    return true;
  }

  void escape(bool in_bracket) {
    const char c = at(1);
    repeatable_ = c != 'b' && c != 'B';
    size_t length = 2;
    if (c == 'x' || c == 'u') {
      length += c == 'x' ? 2 : 4;
      if (!hex(2, length - 2) || (c == 'u' && text_.substr(at_ + 2, 2) != "00")) return refuse(length);
    } else if (c == 'c') {
      length = 3;
      if (!is_letter(at(2))) return refuse(length);
    } else if (c == '0') {
      if (is_digit(at(2))) return refuse(3);
    } else if (is_digit(c)) {
      if (in_bracket) return refuse(2);
      if (is_digit(at(2))) ++length;
      if (is_digit(at(length))) return refuse(length + 1);
      int number = 0;
      for (size_t i = 1; i < length; ++i) number = 10 * number + (at(i) - '0');
      reference_ = std::max(reference_, number);
    } else if (is_letter(c)) {
      const std::string_view known = in_bracket ? "dDwWsSbtnrfv" : "dDwWsSbBtnrfv";
      if (known.find(c) == std::string_view::npos) return refuse(2);
    }
    at_ += std::min(length, text_.size() - at_);
  }

  void bracket() {
    repeatable_ = true;
    at_ += at(1) == '^' ? 2 : 1;
    while (problem_.empty() && at_ < text_.size() && text_[at_] != ']') {
      if (text_[at_] == '\\') {
        escape(true);
      } else if (text_[at_] == '[' && (at(1) == '.' || at(1) == '=')) {
        refuse(2);
      } else if (text_[at_] == '[' && at(1) == ':') {
        const size_t end = text_.find(":]", at_ + 2);
        // [:<:] and [:^alpha:] are PCRE2's own.
        if (end == std::string_view::npos || !is_letter(at(2))) return refuse(3);
        at_ = end + 2;
      } else {
        ++at_;
      }
    }
    repeatable_ = true;
    ++at_;
  }

  void group() {
    repeatable_ = false;
    if (at(1) == '*') return refuse(2);
    if (at(1) != '?') {
      ++groups_;
      ++at_;
      return;
    }
    const char kind = at(2);
    if (kind != ':' && kind != '=' && kind != '!') return refuse(kind == '<' ? 4 : 3);
    at_ += 3;
  }

  void quantifier() {
    if (!repeatable_) return refuse(1);
    size_t length = 1;
    if (at(0) == '{') {
      while (is_digit(at(length))) ++length;
      const bool counted = length > 1;
      if (at(length) == ',') {
        ++length;
        while (is_digit(at(length))) ++length;
      }
      if (!counted || at(length) != '}') return refuse(length + 1);
      ++length;
    }
    if (at(length) == '?') ++length;
    at_ += length;
    repeatable_ = false;  // a++ of PCRE2, and what is nothing anywhere
  }

  std::string_view text_;
  size_t at_ = 0;
  bool repeatable_ = false;
  int groups_ = 0, reference_ = 0;
  std::string problem_;
};

}  // namespace

struct Pattern::Compiled {
  std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>> code;
  MatchContext context;
};

Pattern::Pattern(const std::string& operation, const std::string& expression)
    : operation_(operation), expression_(expression), compiled_(std::make_unique<Compiled>()) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::usage, operation, fmt::format("'{}' is not a regular expression ({})", expression, why));
  };
  if (expression.size() > kLongest) {
    throw Error(ErrorCode::usage, operation, fmt::format("a regular expression of {} bytes", expression.size()),
                fmt::format("at most {}", kLongest));
  }
  if (const std::string problem = Syntax(expression).problem(); !problem.empty()) refuse(problem);
  const CompileContext context(pcre2_compile_context_create(nullptr));
  compiled_->context.reset(pcre2_match_context_create(nullptr));
  if (!context || !compiled_->context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_ANYCRLF);  // what . does not match
  pcre2_set_compile_extra_options(context.get(), PCRE2_EXTRA_ALT_BSUX);
  pcre2_set_match_limit(compiled_->context.get(), kSteps);
  pcre2_set_heap_limit(compiled_->context.get(), kHeapKiB);
  constexpr uint32_t kOptions = PCRE2_DOLLAR_ENDONLY | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF |
                                PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C;
  int code = 0;
  PCRE2_SIZE at = 0;
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(), kOptions,
                                      &code, &at, context.get()));
  if (!compiled_->code) refuse(fmt::format("at byte {}: {}", at, reason(code)));
  size_t size = 0;
  pcre2_pattern_info(compiled_->code.get(), PCRE2_INFO_SIZE, &size);
  if (size > kLargestCode) refuse("its repetitions multiply to too much");
}

Pattern::~Pattern() = default;

bool Pattern::found_in(const std::string& text) const {
  const MatchData data(pcre2_match_data_create_from_pattern(compiled_->code.get(), nullptr));
  if (!data) throw std::bad_alloc();
  const int found = pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0,
                                data.get(), compiled_->context.get());
  if (found >= 0) return true;
  if (found == PCRE2_ERROR_NOMATCH) return false;
  throw Error(ErrorCode::usage, operation_,
              fmt::format("the regular expression '{}' takes too long to search '{}' ({})", expression_,
                          text.substr(0, 200), reason(found)),
              "a simpler one");
}

}  // namespace mxq
