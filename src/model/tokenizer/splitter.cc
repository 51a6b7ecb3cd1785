#include "model/tokenizer/splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <utility>

#include "model/tokenizer/utf8.h"
#include "mxq/error.h"

namespace mxq {

namespace {

// Bounds for patterns from untrusted files. A run of n blanks takes about n steps in the patterns in use.
constexpr size_t kLongestPattern = 1 << 16;
constexpr uint32_t kMatchSteps = 20'000'000;
constexpr size_t kJitStack = size_t{1} << 20;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using Code = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>>;

std::string reason(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

// PCRE2 counts U+180E among \s, Unicode (since 6.3) and the other engines don't: \s is spelt out.
std::string with_unicode_blanks(const std::string& pattern) {
  constexpr const char* blanks = R"(\t-\r\x{85}\p{Z})";
  std::string result;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '\\' || i + 1 == pattern.size()) {
      if (c == '[' && !in_class) {
        in_class = true;
        result += c;
        // A bracket that comes first is a member.
        if (i + 1 < pattern.size() && pattern[i + 1] == '^') result += pattern[++i];
        if (i + 1 < pattern.size() && pattern[i + 1] == ']') result += pattern[++i];
        continue;
      }
      if (c == ']') in_class = false;
      result += c;
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's') {
      result += in_class ? blanks : fmt::format("[{}]", blanks);
    } else if (escaped == 'S' && !in_class) {
      result += fmt::format("[^{}]", blanks);
    } else {
      result.append({c, escaped});
    }
  }
  return result;
}

struct Part {
  size_t begin, end;
  bool match;
};

void add_parts(std::string_view text, const std::vector<Part>& parts, SplitBehavior behavior,
               std::vector<std::string_view>& out) {
  const auto put = [&](size_t begin, size_t end) {
    if (end > begin) out.push_back(text.substr(begin, end - begin));
  };
  switch (behavior) {
    case SplitBehavior::isolated:
      for (const Part& part : parts) put(part.begin, part.end);
      break;
    case SplitBehavior::removed:
      for (const Part& part : parts) {
        if (!part.match) put(part.begin, part.end);
      }
      break;
    default:
      for (size_t i = 0; i < parts.size();) {
        size_t last = i;
        const bool match = parts[i].match;
        if (behavior == SplitBehavior::contiguous) {
          while (last + 1 < parts.size() && parts[last + 1].match == match) ++last;
        } else if (last + 1 < parts.size()) {
          const bool next = parts[last + 1].match;
          if (behavior == SplitBehavior::merged_with_previous ? !match && next : match && !next) ++last;
        }
        put(parts[i].begin, parts[last].end);
        i = last + 1;
      }
  }
}

}  // namespace

struct Splitter::Compiled {
  Code code;
  bool jit = false;
};

Splitter::Splitter(std::string operation, const SplitRule& rule)
    : operation_(std::move(operation)), rule_(rule), compiled_(std::make_unique<Compiled>()) {
  if (rule.pattern.empty() || rule.pattern.size() > kLongestPattern) {
    throw Error(ErrorCode::unsupported, operation_,
                fmt::format("a pattern of {} bytes to split text", rule.pattern.size()),
                fmt::format("1 to {}", kLongestPattern));
  }
  const std::string pattern = rule.literal ? rule.pattern : with_unicode_blanks(rule.pattern);
  // The one blank within literals is the file's own; \C would cut characters.
  const uint32_t options = rule.literal ? PCRE2_UTF | PCRE2_LITERAL : PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
  const CompileContext context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  int code = 0;
  PCRE2_SIZE at = 0;
  compiled_->code.reset(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &code, &at, context.get()));
  if (!compiled_->code) {
    throw Error(ErrorCode::unsupported, operation_,
                fmt::format("the pattern to split text, at byte {} of {}: {}", at, pattern.size(), reason(code)),
                "a regular expression as PCRE2 has them");
  }
  // Without JIT (no memory that may be executed) the interpreter does the same, slower.
  compiled_->jit = pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE) == 0;
}

Splitter::~Splitter() = default;
Splitter::Splitter(Splitter&&) noexcept = default;

std::vector<std::string_view> Splitter::split(const std::vector<std::string_view>& pieces) const {
  const MatchData data(pcre2_match_data_create_from_pattern(compiled_->code.get(), nullptr));
  const MatchContext context(pcre2_match_context_create(nullptr));
  if (!data || !context) throw std::bad_alloc();
  pcre2_set_match_limit(context.get(), kMatchSteps);
  JitStack stack;
  if (compiled_->jit) {
    stack.reset(pcre2_jit_stack_create(1 << 15, kJitStack, nullptr));
    if (!stack) throw std::bad_alloc();
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data.get());

  std::vector<std::string_view> out;
  std::vector<Part> parts;
  for (const std::string_view text : pieces) {
    parts.clear();
    size_t done = 0;
    for (size_t from = 0; from < text.size();) {
      // The text has been checked to be UTF-8; PCRE2 would check all that is left of it at every match.
      const int matches = pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                      from, PCRE2_NO_UTF_CHECK, data.get(), context.get());
      if (matches == PCRE2_ERROR_NOMATCH) break;
      if (matches < 0) {
        throw Error(
            ErrorCode::unsupported, operation_,
            fmt::format("the pattern to split text fails at byte {} of {}: {}", from, text.size(), reason(matches)));
      }
      const size_t begin = found[0], end = found[1];
      if (begin < done || begin > end || end > text.size()) {
        throw Error(ErrorCode::unsupported, operation_, "the pattern to split text moves its own match (\\K)");
      }
      if (begin == end) {  // an empty match splits nothing
        from = end < text.size() ? std::max(end + character_length(text.substr(end)), from + 1) : text.size();
        continue;
      }
      if (begin > done) parts.push_back({done, begin, rule_.invert});
      parts.push_back({begin, end, !rule_.invert});
      done = from = end;
    }
    if (done < text.size()) parts.push_back({done, text.size(), rule_.invert});
    add_parts(text, parts, rule_.behavior, out);
  }
  return out;
}

}  // namespace mxq
