#include "model/tokenizer/oniguruma.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "format/strict_json.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr int kDeepest = 100;

// Members of a class, as PCRE2 writes them between brackets.
constexpr const char* kBlanks = R"(\t-\r\x{85}\p{Z})";
// Alphabetic, marks, decimal digits, connectors, Latin-1's other numbers; PCRE2 10.42's own \w has no marks.
constexpr const char* kWord =
    R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})"
    R"(\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
constexpr const char* kHexDigits = "0-9a-fA-F";
constexpr const char* kAny = "(?s:.)";
constexpr const char* kNoNewline = R"([^\n])";
constexpr const char* kLineBreak = R"((?>\r\n|[\n-\r\x{85}\x{2028}\x{2029}]))";

// Names of \p{...} and [:...:], without case, blanks, - and _, that are not PCRE2's names of categories or scripts.
constexpr std::array<std::pair<std::string_view, std::string_view>, 56> kProperties{{
    {"alnum", R"(\p{L}\p{Nl}\p{M}\p{Nd}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})"},
    {"alpha", R"(\p{Alphabetic})"},
    {"alphabetic", R"(\p{Alphabetic})"},
    {"ascii", R"(\x{0}-\x{7f})"},
    {"blank", R"(\t\p{Zs})"},
    {"cntrl", R"(\p{Cc})"},
    {"digit", R"(\p{Nd})"},
    {"lower", R"(\p{Lowercase})"},
    {"lowercase", R"(\p{Lowercase})"},
    {"punct", R"(\p{P}$+<=>\^`|~)"},
    {"space", kBlanks},
    {"whitespace", kBlanks},
    {"upper", R"(\p{Uppercase})"},
    {"uppercase", R"(\p{Uppercase})"},
    {"word", kWord},
    {"xdigit", kHexDigits},
    {"emoji", R"(\p{Emoji})"},
    {"ideographic", R"(\p{Ideographic})"},
    {"letter", R"(\p{L})"},
    {"uppercaseletter", R"(\p{Lu})"},
    {"lowercaseletter", R"(\p{Ll})"},
    {"titlecaseletter", R"(\p{Lt})"},
    {"modifierletter", R"(\p{Lm})"},
    {"otherletter", R"(\p{Lo})"},
    {"mark", R"(\p{M})"},
    {"nonspacingmark", R"(\p{Mn})"},
    {"spacingmark", R"(\p{Mc})"},
    {"enclosingmark", R"(\p{Me})"},
    {"number", R"(\p{N})"},
    {"decimalnumber", R"(\p{Nd})"},
    {"letternumber", R"(\p{Nl})"},
    {"othernumber", R"(\p{No})"},
    {"punctuation", R"(\p{P})"},
    {"connectorpunctuation", R"(\p{Pc})"},
    {"dashpunctuation", R"(\p{Pd})"},
    {"openpunctuation", R"(\p{Ps})"},
    {"closepunctuation", R"(\p{Pe})"},
    {"initialpunctuation", R"(\p{Pi})"},
    {"finalpunctuation", R"(\p{Pf})"},
    {"otherpunctuation", R"(\p{Po})"},
    {"symbol", R"(\p{S})"},
    {"mathsymbol", R"(\p{Sm})"},
    {"currencysymbol", R"(\p{Sc})"},
    {"modifiersymbol", R"(\p{Sk})"},
    {"othersymbol", R"(\p{So})"},
    {"separator", R"(\p{Z})"},
    {"spaceseparator", R"(\p{Zs})"},
    {"lineseparator", R"(\p{Zl})"},
    {"paragraphseparator", R"(\p{Zp})"},
    {"other", R"(\p{C})"},
    {"control", R"(\p{Cc})"},
    {"format", R"(\p{Cf})"},
    {"privateuse", R"(\p{Co})"},
    {"surrogate", R"(\p{Cs})"},
    {"unassigned", R"(\p{Cn})"},
    {"any", R"(\x{0}-\x{10ffff})"},
}};

constexpr std::array<std::string_view, 37> kCategories{
    "c",  "cc", "cf", "cn", "co", "cs", "l",  "ll", "lm", "lo", "lt", "lu", "m",  "mc", "me", "mn", "n",  "nd", "nl",
    "no", "p",  "pc", "pd", "pe", "pf", "pi", "po", "ps", "s",  "sc", "sk", "sm", "so", "z",  "zl", "zp", "zs"};

bool is_one_of(std::string_view letters, char c) {
  return letters.find(c) != std::string_view::npos;
}

// One pattern. A class is a pattern for one character: a list between brackets where it can be.
class Translator {
 public:
  Translator(std::string_view pattern, const std::string& operation) : text_(pattern), operation_(operation) {}

  std::string all() {
    std::string result = alternatives(Options{}, 0);
    if (at_ < text_.size()) invalid("a ) without (");
    return result;
  }

 private:
  struct Options {
    bool ignore_case = false, dot_all = false, extended = false;
  };
  struct Class {
    std::string members;              // between brackets
    std::vector<std::string> others;  // patterns for one character each
    bool empty() const { return members.empty() && others.empty(); }
    std::string pattern(bool negated) const {
      if (others.empty()) return fmt::format("[{}{}]", negated ? "^" : "", members);
      std::string either = members.empty() ? "" : fmt::format("[{}]", members);
      for (const auto& other : others) either += (either.empty() ? "" : "|") + other;
      return negated ? fmt::format("(?:(?!{}){})", either, kAny) : fmt::format("(?:{})", either);
    }
  };

  [[noreturn]] void unsupported(std::string_view what) const {
    throw Error(ErrorCode::unsupported, operation_,
                fmt::format("the pattern {} has {}, at byte {}", in_quotes(text_), what, std::min(at_, text_.size())),
                "what PCRE2 can do like Oniguruma");
  }
  [[noreturn]] void invalid(std::string_view what) const {
    throw Error(ErrorCode::invalid_file, operation_,
                fmt::format("the pattern {} has {}, at byte {}", in_quotes(text_), what, std::min(at_, text_.size())));
  }

  bool done() const { return at_ >= text_.size(); }
  char peek() const { return done() ? '\0' : text_[at_]; }
  bool take(std::string_view what) {
    if (!text_.substr(std::min(at_, text_.size())).starts_with(what)) return false;
    at_ += what.size();
    return true;
  }
  uint32_t take_character() {
    const std::string_view rest = text_.substr(at_);
    const size_t length = rest.empty() ? 0 : character_length(rest);
    if (length == 0) invalid("an end too soon");
    at_ += length;
    return first_character(rest);
  }

  static std::string literal(uint32_t c) { return fmt::format("\\x{{{:x}}}", c); }

  // What two neighbours may be together in another case: "ss" is the sharp s.
  void check_case(uint32_t before, uint32_t c) const {
    constexpr std::array<std::pair<uint32_t, uint32_t>, 3> kinds{
        {{0x0370, 0x03ff}, {0x0531, 0x0587}, {0x1e96, 0x1fff}}};
    const auto folds_long = [&](uint32_t x) {
      return x == 0xdf || x == 0x130 || x == 0x149 || x == 0x1f0 || (x >= 0xfb00 && x <= 0xfb17) || x == 0x2bc ||
             x == 0x2be || (x >= 0x300 && x <= 0x36f) ||
             std::any_of(kinds.begin(), kinds.end(), [&](const auto& k) { return x >= k.first && x <= k.second; });
    };
    if (folds_long(c)) unsupported("a character whose other case is several characters, without case");
    if (before == 0 || before >= 0x80 || c >= 0x80) return;
    const char pair[] = {static_cast<char>(std::tolower(static_cast<int>(before))),
                         static_cast<char>(std::tolower(static_cast<int>(c)))};
    for (const std::string_view joined : {"ss", "st", "ff", "fi", "fl"}) {
      if (std::string_view(pair, 2) == joined) unsupported("letters whose other case is one character, without case");
    }
  }

  // ---- outside classes

  std::string alternatives(Options options, int depth) {
    if (depth > kDeepest) unsupported("more than 100 groups within each other");
    std::string result;
    uint32_t before = 0;  // a literal; 0: none
    while (!done() && peek() != ')') {
      if (take("|")) {
        result += '|';
        before = 0;
        continue;
      }
      if (options.extended) {
        if (std::isspace(static_cast<unsigned char>(peek())) != 0) {
          ++at_;
          continue;
        }
        if (take("#")) {
          while (!done() && peek() != '\n') ++at_;
          continue;
        }
      }
      if (take("(?#")) {
        while (!done() && peek() != ')') at_ += peek() == '\\' ? 2 : 1;
        if (!take(")")) invalid("a comment without end");
        continue;
      }
      std::optional<uint32_t> single;
      bool repeatable = true;
      std::string atom = one(options, depth, single, repeatable);
      if (single && options.ignore_case) check_case(before, *single);
      const bool repeated = quantified(atom, repeatable, options);
      before = repeated ? 0 : single.value_or(0);
      if (repeated && single && options.ignore_case && (*single == 's' || *single == 'S' || *single == 'f')) {
        unsupported("letters whose other case is one character, without case");
      }
      result += atom;
    }
    return result;
  }

  std::string one(const Options& options, int depth, std::optional<uint32_t>& single, bool& repeatable) {
    switch (peek()) {
      case '(':
        return group(options, depth, repeatable);
      case '[':
        ++at_;
        return klass(options, depth);
      case '.':
        ++at_;
        return options.dot_all ? kAny : kNoNewline;
      case '^':
        ++at_;
        repeatable = false;
        return "(?m:^)";
      case '$':
        ++at_;
        repeatable = false;
        return "(?m:$)";
      case '\\':
        ++at_;
        return escape(single, repeatable);
      case '*':
      case '+':
      case '?':
        invalid("a repetition of nothing");
      default:
        single = take_character();
        return literal(*single);
    }
  }

  std::string group(Options options, int depth, bool& repeatable) {
    ++at_;
    if (peek() == '*') unsupported("a call (*");
    std::string open = "(?:";
    if (take("?")) {
      if (take(":")) {
      } else if (take(">")) {
        open = "(?>";
      } else if (take("=")) {
        open = "(?=";
      } else if (take("!")) {
        open = "(?!";
      } else if (take("<=")) {
        open = "(?<=";
      } else if (take("<!")) {
        open = "(?<!";
      } else if (take("<")) {
        while (!done() && peek() != '>') ++at_;
        if (!take(">")) invalid("a group's name without end");
      } else if (is_one_of("imx-", peek())) {
        return with_options(options, depth, repeatable);
      } else {
        unsupported(fmt::format("(?{}", done() ? ' ' : peek()));
      }
    }
    repeatable = open == "(?:" || open == "(?>";
    return closed(open, options, depth);
  }

  std::string closed(const std::string& open, const Options& options, int depth) {
    std::string result = open + alternatives(options, depth + 1) + ')';
    if (!take(")")) invalid("a ( without )");
    return result;
  }

  // (?i-m:...), or (?i), which holds up to the end of the group around it, alternatives included.
  std::string with_options(Options options, int depth, bool& repeatable) {
    bool value = true;
    for (; peek() != ':' && peek() != ')'; ++at_) {
      if (peek() == '-') {
        value = false;
      } else if (peek() == 'i') {
        options.ignore_case = value;
      } else if (peek() == 'm') {
        options.dot_all = value;
      } else if (peek() == 'x') {
        options.extended = value;
      } else {
        unsupported(fmt::format("the option {}", done() ? ' ' : peek()));
      }
    }
    const char* open = options.ignore_case ? "(?i:" : "(?-i:";
    if (take(":")) return closed(open, options, depth);
    ++at_;
    repeatable = false;
    return open + alternatives(options, depth + 1) + ')';  // what ends it ends the group around it
  }

  struct Interval {
    std::string text;
    bool fixed = false;
  };
  // {n}, {n,}, {n,m}, {,m}; anything else is text.
  std::optional<Interval> interval() {
    const size_t begin = at_;
    if (!take("{")) return std::nullopt;
    const auto number = [&] {
      std::string digits;
      while (std::isdigit(static_cast<unsigned char>(peek())) != 0) digits += text_[at_++];
      return digits;
    };
    const std::string low = number();
    const bool comma = take(",");
    const std::string high = comma ? number() : low;
    if (!take("}") || (low.empty() && high.empty())) {
      at_ = begin;
      return std::nullopt;
    }
    if (low.size() > 5 || high.size() > 5) unsupported("more than 99999 repetitions");
    if (!low.empty() && !high.empty() && std::stoi(low) > std::stoi(high)) unsupported("an interval that goes down");
    return Interval{fmt::format("{{{}{}{}}}", low.empty() ? "0" : low, comma ? "," : "", comma ? high : ""), !comma};
  }

  // Puts the repetitions that follow behind `atom`; false: none follows.
  bool quantified(std::string& atom, bool repeatable, const Options& options) {
    bool any = false;
    while (!done()) {
      if (options.extended && any && std::isspace(static_cast<unsigned char>(peek())) != 0) break;
      std::string repeat;
      if (is_one_of("*+?", peek())) {
        repeat = text_[at_++];
        if (take("?")) {
          repeat += '?';
        } else if (take("+")) {
          repeat += '+';
        }
      } else if (const auto found = interval()) {
        repeat = found->text;
        // Oniguruma: {n,m}+ repeats the repetition, {n}? makes it optional.
        if (!found->fixed && take("?")) repeat += '?';
      } else {
        break;
      }
      if (!repeatable) unsupported("a repetition of an anchor or option");
      atom = any ? fmt::format("(?:{}){}", atom, repeat) : atom + repeat;
      any = true;
    }
    return any;
  }

  // ---- escapes, behind the backslash

  std::optional<uint32_t> escaped_character() {
    constexpr std::array<std::pair<char, uint32_t>, 7> letters{
        {{'t', 9}, {'n', 10}, {'v', 11}, {'f', 12}, {'r', 13}, {'a', 7}, {'e', 27}}};
    for (const auto& [letter, value] : letters) {
      if (peek() == letter) {
        ++at_;
        return value;
      }
    }
    if (take("x{")) {
      const uint32_t value = hex(8);
      if (!take("}")) unsupported("\\x{ with other things than one number");
      return checked(value);
    }
    if (take("x")) {
      const uint32_t value = hex(2);
      if (value >= 0x80) unsupported("a byte that is no character, \\x");
      return value;
    }
    if (take("u")) {
      const size_t begin = at_;
      const uint32_t value = hex(4);
      if (at_ - begin != 4) invalid("\\u without four digits");
      return checked(value);
    }
    if (peek() == '0') {
      uint32_t value = 0;
      for (int i = 0; i < 3 && peek() >= '0' && peek() <= '7'; ++i)
        value = 8 * value + static_cast<uint32_t>(text_[at_++] - '0');
      return checked(value);
    }
    const char c = peek();
    if (!done() && static_cast<unsigned char>(c) < 0x80 && std::isalnum(static_cast<unsigned char>(c)) == 0) {
      ++at_;
      return static_cast<uint32_t>(c);
    }
    if (!done() && static_cast<unsigned char>(c) >= 0x80) return take_character();
    return std::nullopt;
  }
  uint32_t hex(int most) {
    uint32_t value = 0;
    int count = 0;
    for (; count < most && std::isxdigit(static_cast<unsigned char>(peek())) != 0; ++count) {
      const int c = std::tolower(static_cast<unsigned char>(text_[at_++]));
      value = 16 * value + static_cast<uint32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (count == 0) unsupported("\\x without digits");
    return value;
  }
  uint32_t checked(uint32_t value) const {
    if (value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) invalid("a number that is no character");
    return value;
  }

  // \w, \P{...} and the like: members of a class, and whether all others are meant.
  std::optional<std::pair<std::string, bool>> escaped_set() {
    const char c = peek();
    const bool others = std::isupper(static_cast<unsigned char>(c)) != 0;
    const char* members = nullptr;
    switch (std::tolower(static_cast<unsigned char>(c))) {
      case 'w':
        members = kWord;
        break;
      case 'd':
        members = R"(\p{Nd})";
        break;
      case 's':
        members = kBlanks;
        break;
      case 'h':
        members = kHexDigits;
        break;
      case 'p': {
        ++at_;
        if (!take("{")) unsupported("\\p without {");
        const bool inverted = take("^");
        const size_t end = text_.find('}', at_);
        if (end == std::string_view::npos) invalid("\\p{ without }");
        std::string found = property(text_.substr(at_, end - at_));
        at_ = end + 1;
        return std::pair(std::move(found), others != inverted);
      }
      default:
        return std::nullopt;
    }
    ++at_;
    return std::pair(std::string(members), others);
  }

  std::string property(std::string_view name) const {
    std::string plain;
    for (const char c : name) {
      if (c == ' ' || c == '-' || c == '_') continue;
      if (std::isalnum(static_cast<unsigned char>(c)) == 0)
        unsupported(fmt::format("the property {}", in_quotes(name)));
      plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    for (const auto& [known, members] : kProperties) {
      if (known == plain) return std::string(members);
    }
    if (std::find(kCategories.begin(), kCategories.end(), plain) != kCategories.end()) {
      plain[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(plain[0])));
      return fmt::format("\\p{{{}}}", plain);
    }
    // Only a script's own characters, as Oniguruma has it; PCRE2 refuses other names.
    return fmt::format("\\p{{sc:{}}}", name);
  }

  std::string escape(std::optional<uint32_t>& single, bool& repeatable) {
    if (done()) invalid("a \\ at its end");
    if (const auto set = escaped_set()) return fmt::format("[{}{}]", set->second ? "^" : "", set->first);
    const std::string inside = fmt::format("[{}]", kWord);
    const char c = peek();
    if (is_one_of("bBAzZ", c)) {
      ++at_;
      repeatable = false;
      if (c == 'b') return fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", inside);
      if (c == 'B') return fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", inside);
      return {'\\', c};
    }
    if (is_one_of("RNO", c)) {
      ++at_;
      return c == 'R' ? kLineBreak : c == 'N' ? kNoNewline : kAny;
    }
    single = escaped_character();
    if (!single) unsupported(fmt::format("\\{}", c));
    return literal(*single);
  }

  // ---- classes, behind the [

  std::string klass(const Options& options, int depth) {
    const bool negated = take("^");
    const Class whole = intersection(options, depth);
    if (!take("]")) invalid("a [ without ]");
    if (whole.empty()) invalid("a [] without members");
    return whole.pattern(negated);
  }

  Class intersection(const Options& options, int depth) {
    Class result = members(options, depth, true);
    while (take("&&")) {
      const Class next = members(options, depth, false);
      if (result.empty() || next.empty()) unsupported("an empty side of &&");
      result = Class{"", {fmt::format("(?:(?={}){})", result.pattern(false), next.pattern(false))}};
    }
    return result;
  }

  Class members(const Options& options, int depth, bool is_first) {
    if (depth > kDeepest) unsupported("more than 100 groups within each other");
    Class result;
    const auto add = [&](const std::string& list, bool others) {
      if (others) {
        result.others.push_back(fmt::format("[^{}]", list));
      } else {
        result.members += list;
      }
    };
    while (!done()) {
      if (peek() == ']' && !is_first) break;
      is_first = false;
      if (text_.substr(at_).starts_with("&&")) break;
      if (take("[:")) {
        const bool others = take("^");
        const size_t end = text_.find(":]", at_);
        if (end == std::string_view::npos) unsupported("[: without :]");
        add(property(text_.substr(at_, end - at_)), others);
        at_ = end + 2;
        continue;
      }
      if (take("[")) {
        result.others.push_back(nested(options, depth + 1));
        continue;
      }
      uint32_t first = 0;
      if (take("\\")) {
        if (done()) invalid("a \\ at its end");
        if (const auto set = escaped_set()) {
          if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') unsupported("a range from a class");
          add(set->first, set->second);
          continue;
        }
        first = class_escape();
      } else {
        first = take_character();
      }
      uint32_t last = first;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        if (peek() == '[' || text_.substr(at_).starts_with("&&")) unsupported("a range to a class");
        if (take("\\")) {
          if (is_one_of("wWdDsShHpP", peek())) unsupported("a range to a class");
          last = class_escape();
        } else {
          last = take_character();
        }
        if (last < first) invalid("a range that goes down");
      }
      if (options.ignore_case && (first >= 0x80 || last >= 0x80)) {
        unsupported("a class with other than ASCII characters, without case");
      }
      add(first == last ? literal(first) : literal(first) + '-' + literal(last), false);
    }
    return result;
  }
  std::string nested(const Options& options, int depth) { return klass(options, depth); }

  uint32_t class_escape() {
    if (take("b")) return 8;
    const auto found = escaped_character();
    if (!found) unsupported(fmt::format("\\{} in a class", peek()));
    return *found;
  }

  std::string_view text_;
  const std::string& operation_;
  size_t at_ = 0;
};

}  // namespace

std::string pcre2_of_oniguruma(std::string_view pattern, const std::string& operation) {
  return Translator(pattern, operation).all();
}

}  // namespace mxq
