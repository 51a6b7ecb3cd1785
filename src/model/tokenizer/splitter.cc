#include "model/tokenizer/splitter.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/pcre2_handles.h"
#include "base/utf8.h"
#include "format/strict_json.h"
#include "model/tokenizer/oniguruma.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

// Bounds for patterns from untrusted files. A run of n blanks takes about n steps in the patterns in use.
constexpr size_t kLongestPattern = 1 << 16;
constexpr uint32_t kMatchSteps = 20'000'000;
constexpr size_t kJitStack = size_t{1} << 20;

using namespace pcre2;

struct Part {
  size_t begin, end;
  bool match;
};

void add_parts(std::string_view text, const std::vector<Part>& parts, SplitBehavior behavior,
               std::vector<std::string_view>& out) {
  const auto put = [&](size_t begin, size_t end) {
    if (end > begin) out.push_back(text.substr(begin, end - begin));
  };
  // Where a part ends up: with a neighbour, unless that is a match too.
  std::vector<Part> joined;
  bool previous = false;
  const auto join_or_add = [&](const Part& part, bool joins, size_t Part::*edge) {
    if (joins && !joined.empty()) {
      joined.back().*edge = part.*edge;
    } else {
      joined.push_back(part);
    }
    previous = part.match;
  };
  switch (behavior) {
    case SplitBehavior::isolated:
      for (const Part& part : parts) put(part.begin, part.end);
      return;
    case SplitBehavior::removed:
      for (const Part& part : parts) {
        if (!part.match) put(part.begin, part.end);
      }
      return;
    case SplitBehavior::merged_with_previous:
      for (const Part& part : parts) join_or_add(part, part.match && !previous, &Part::end);
      break;
    case SplitBehavior::merged_with_next:
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        join_or_add(*part, part->match && !previous, &Part::begin);
      }
      std::reverse(joined.begin(), joined.end());
      break;
    case SplitBehavior::contiguous:
      for (const Part& part : parts) join_or_add(part, part.match == previous, &Part::end);
      break;
  }
  for (const Part& part : joined) put(part.begin, part.end);
}

}  // namespace

struct Splitter::Compiled {
  Code code;
  bool jit = false;
};

/// Finds the matches in one text after another; not for two threads at once.
class Splitter::Matcher {
 public:
  Matcher(const Compiled& compiled, const std::string& operation)
      : code_(compiled.code.get()),
        operation_(operation),
        data_(pcre2_match_data_create_from_pattern(code_, nullptr)),
        context_(pcre2_match_context_create(nullptr)) {
    if (!data_ || !context_) throw std::bad_alloc();
    pcre2_set_match_limit(context_.get(), kMatchSteps);
    if (!compiled.jit) return;
    stack_.reset(pcre2_jit_stack_create(1 << 15, kJitStack, nullptr));
    if (!stack_) throw std::bad_alloc();
    pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
  }

  template <typename Found>
  void each(std::string_view text, const Found& found) const {
    const PCRE2_SIZE* at = pcre2_get_ovector_pointer(data_.get());
    size_t done = 0;
    bool any = false;
    for (size_t from = 0; from <= text.size();) {
      // The text has been checked to be UTF-8; PCRE2 would check all that is left of it at every match.
      const int matches = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                      PCRE2_NO_UTF_CHECK, data_.get(), context_.get());
      if (matches == PCRE2_ERROR_NOMATCH) break;
      if (matches < 0) {
        throw Error(
            ErrorCode::unsupported, operation_,
            fmt::format("the pattern to split text fails at byte {} of {}: {}", from, text.size(), reason(matches)));
      }
      const size_t begin = at[0], end = at[1];
      if (begin == end && any && end == done) {  // nothing, right behind a match
        from += from < text.size() ? character_length(text.substr(from)) : 1;
        continue;
      }
      found(begin, end);
      any = true;
      done = from = end;
    }
  }

 private:
  const pcre2_code* code_;
  const std::string& operation_;
  MatchData data_;
  MatchContext context_;
  JitStack stack_;
};

Splitter::Splitter(std::string operation, const SplitRule& rule)
    : operation_(std::move(operation)), rule_(rule), compiled_(std::make_unique<Compiled>()) {
  if (rule.pattern.empty() || rule.pattern.size() > kLongestPattern) {
    throw Error(ErrorCode::unsupported, operation_,
                fmt::format("a pattern of {} bytes to split text", rule.pattern.size()),
                fmt::format("1 to {}", kLongestPattern));
  }
  const std::string pattern = rule.literal ? rule.pattern : pcre2_of_oniguruma(rule.pattern, operation_);
  // The one blank within literals is the file's own; \C would cut characters.
  const uint32_t options = rule.literal ? PCRE2_UTF | PCRE2_LITERAL : PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
  const CompileContext context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE at = 0;
  compiled_->code.reset(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &code, &at, context.get()));
  if (!compiled_->code) {
    throw Error(ErrorCode::unsupported, operation_,
                fmt::format("the pattern {} to split text: {}", in_quotes(rule.pattern), reason(code)),
                "what PCRE2 can do like Oniguruma");
  }
  // Without JIT (no memory that may be executed) the interpreter does the same, slower.
  compiled_->jit = pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE) == 0;
}

Splitter::~Splitter() = default;
Splitter::Splitter(Splitter&&) noexcept = default;

std::vector<std::string_view> Splitter::split(const std::vector<std::string_view>& pieces) const {
  std::vector<std::string_view> out;
  std::vector<Part> parts;
  Matcher matcher(*compiled_, operation_);
  for (const std::string_view text : pieces) {
    parts.clear();
    size_t done = 0;
    matcher.each(text, [&](size_t begin, size_t end) {
      if (begin > done) parts.push_back({done, begin, rule_.invert});
      parts.push_back({begin, end, !rule_.invert});
      done = end;
    });
    if (done < text.size()) parts.push_back({done, text.size(), rule_.invert});
    add_parts(text, parts, rule_.behavior, out);
  }
  return out;
}

std::string Splitter::replace(std::string_view text, std::string_view to) const {
  if (text.empty()) return {};  // as the package has it, whatever the pattern matches
  std::string result;
  size_t done = 0;
  Matcher(*compiled_, operation_).each(text, [&](size_t begin, size_t end) {
    result.append(text, done, begin - done).append(to);
    done = end;
  });
  return result.append(text, done);
}

}  // namespace mxq
