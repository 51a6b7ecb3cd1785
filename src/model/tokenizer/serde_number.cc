#include "model/tokenizer/serde_number.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>

namespace mxq {

namespace {

constexpr int kPowers = 309;

double power_of_ten(int exponent) {
  static const auto powers = [] {
    std::array<double, kPowers> table{};
    for (int i = 0; i < kPowers; ++i)
      table[static_cast<size_t>(i)] = std::strtod(fmt::format("1e{}", i).c_str(), nullptr);
    return table;
  }();
  return powers[static_cast<size_t>(exponent)];
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// False where the digit does not fit.
template <typename T>
bool append(T& number, char digit) {
  const T value = static_cast<T>(digit - '0'), most = std::numeric_limits<T>::max();
  if (number > most / 10 || (number == most / 10 && value > most % 10)) return false;
  number = static_cast<T>(number * 10 + value);
  return true;
}

std::optional<double> scaled(uint64_t digits, int64_t exponent) {
  double value = static_cast<double>(digits);
  while (std::abs(exponent) >= kPowers) {
    if (value == 0) return value;
    if (exponent > 0) return std::nullopt;
    value /= power_of_ten(kPowers - 1);
    exponent += kPowers - 1;
  }
  if (exponent < 0) return value / power_of_ten(static_cast<int>(-exponent));
  value *= power_of_ten(static_cast<int>(exponent));
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::optional<double> without_sign(std::string_view text) {
  const auto next = [&] { return text.empty() ? '\0' : text.front(); };
  uint64_t digits = 0;
  int64_t exponent = 0;
  // Of an integer all digits behind the first that does not fit count as powers of ten.
  bool full = false;
  for (; is_digit(next()); text.remove_prefix(1)) {
    full = full || !append(digits, next());
    exponent += full;
  }
  if (next() == '.') {
    text.remove_prefix(1);
    for (full = false; is_digit(next()); text.remove_prefix(1)) {
      full = full || !append(digits, next());
      exponent -= !full;
    }
  }
  if (next() == 'e' || next() == 'E') {
    text.remove_prefix(1);
    const bool down = next() == '-';
    if (down || next() == '+') text.remove_prefix(1);
    int32_t power = 0;
    for (; is_digit(next()); text.remove_prefix(1)) {
      if (append(power, next())) continue;
      if (digits != 0 && !down) return std::nullopt;
      return 0.0;
    }
    exponent += down ? -int64_t{power} : int64_t{power};
  }
  return scaled(digits, exponent);
}

}  // namespace

std::optional<double> serde_number(std::string_view json) {
  const bool negative = json.starts_with('-');
  const auto value = without_sign(negative ? json.substr(1) : json);
  if (!value) return std::nullopt;
  return negative ? -*value : *value;
}

}  // namespace mxq
