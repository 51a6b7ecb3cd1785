#include "mxq/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/utf8.h"
#include "mxq/error.h"

namespace mxq {

namespace {

template <typename Number>
std::optional<Number> parse(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Characters that move the cursor, end lines or turn the direction of writing.
bool is_control(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e || c == 0x200f ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

std::string spelt_out(uint32_t control) {
  switch (control) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return control < 0x20 ? fmt::format("\\x{:02x}", control) : fmt::format("\\u{:04x}", control);
  }
}

std::string printable(std::string_view text, std::string_view kept, size_t most) {
  std::string line;
  for (size_t at = 0; at < text.size();) {
    const size_t length = character_length(text.substr(at));
    if (at + std::max(length, size_t{1}) > most) return line + "...";
    if (length == 0) {
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at++]));
      continue;
    }
    const std::string_view character = text.substr(at, length);
    const uint32_t code = first_character(character);
    if (is_control(code) && kept.find(text[at]) == kept.npos) {
      line += spelt_out(code);
    } else {
      line += character;
    }
    at += length;
  }
  return line;
}

/// Letters to insert, remove or change (Levenshtein).
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row.back();
}

}  // namespace

std::optional<double> parse_double(std::string_view text) {
  const auto value = parse<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

std::optional<int64_t> parse_int(std::string_view text) {
  return parse<int64_t>(text);
}

std::optional<int64_t> parse_size(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 14> units{{{"", 1},
                                                                              {"b", 1},
                                                                              {"k", 0x1p10},
                                                                              {"m", 0x1p20},
                                                                              {"g", 0x1p30},
                                                                              {"t", 0x1p40},
                                                                              {"kb", 1e3},
                                                                              {"mb", 1e6},
                                                                              {"gb", 1e9},
                                                                              {"tb", 1e12},
                                                                              {"kib", 0x1p10},
                                                                              {"mib", 0x1p20},
                                                                              {"gib", 0x1p30},
                                                                              {"tib", 0x1p40}}};
  size_t digits = 0;
  while (digits < text.size() && (std::isdigit(static_cast<unsigned char>(text[digits])) || text[digits] == '.')) {
    ++digits;
  }
  // An exponent, as in 4e9.
  if (digits > 0 && digits + 1 < text.size() && (text[digits] == 'e' || text[digits] == 'E')) {
    size_t end = digits + 1;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
    digits = end;
  }
  const auto value = parse_double(text.substr(0, digits));
  std::string unit(text.substr(digits));
  if (!unit.empty() && unit.front() == ' ') unit.erase(0, 1);
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const auto& [name, factor] : units) {
    if (!value || unit != name) continue;
    const double bytes = *value * factor;
    if (bytes > 0x1p62) return std::nullopt;
    return static_cast<int64_t>(bytes);
  }
  return std::nullopt;
}

int64_t size_of_option(std::string_view name, std::string_view text, int64_t least) {
  const auto bytes = parse_size(text);
  if (bytes && *bytes >= least) return *bytes;
  throw Error(ErrorCode::usage, std::string(name), fmt::format("'{}'", text),
              fmt::format("a size{}: a number with B, K, M, G, T (1024 each step), KiB, MiB, GiB, TiB (the same) or "
                          "KB, MB, GB, TB (1000)",
                          least > 0 ? " above 0" : ""));
}

std::string format_size(int64_t bytes) {
  static constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (std::abs(value) >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t end = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::string printable(std::string_view text, size_t most) {
  return printable(text, "", most);
}

std::string in_quotes(std::string_view name) {
  return fmt::format("'{}'", printable(name, 200));
}

std::string printable_lines(std::string_view text) {
  return printable(text, "\n\t", text.npos);
}

std::optional<std::string> nearest_name(std::string_view name, const std::vector<std::string>& names, size_t most) {
  constexpr size_t kLongest = 1000;  // the work grows with the product of the lengths
  std::optional<std::string> nearest;
  size_t least = most;
  if (name.size() > kLongest) return nearest;
  for (const std::string& candidate : names) {
    const size_t far = distance(name, candidate);
    if (far > least || (nearest && far == least)) continue;
    nearest = candidate;
    least = far;
  }
  return nearest;
}

}  // namespace mxq
