// Typed access to GGUF metadata.
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>

#include "format/gguf.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr std::array<std::string_view, 13> kTypeNames{"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                      "bool", "string", "array", "u64", "i64", "f64"};

[[noreturn]] void wrong_value(const GgufFile& file, std::string_view key, const GgufValue& value,
                              std::string_view wanted) {
  const std::string type(kTypeNames[value.index()]);
  const std::string given = std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, GgufArray>) {
          return fmt::format("metadata {} is an array of {} {}", in_quotes(key), v.count, gguf_type_name(v.element));
        } else if constexpr (std::is_same_v<T, std::string>) {
          return fmt::format("metadata {} is the string {}", in_quotes(key), in_quotes(v));
        } else {
          return fmt::format("metadata {} is {} ({})", in_quotes(key), v, type);
        }
      },
      value);
  throw Error(ErrorCode::invalid_file, "read " + file.source, given, std::string(wanted));
}

template <typename T>
constexpr bool is_integer = std::is_integral_v<T> && !std::is_same_v<T, bool>;

template <typename T>
T element_at(const GgufArray& array, uint64_t i) {
  T value;
  std::memcpy(&value, array.bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

// The elements as T, if they are numbers that T can hold; integers as they are, floats by rounding.
template <typename T, typename From>
bool convert_array(const GgufArray& array, std::vector<T>& out) {
  for (uint64_t i = 0; i < array.count; ++i) {
    const From value = element_at<From>(array, i);
    if constexpr (is_integer<T>) {
      if (!std::in_range<T>(value)) return false;
    }
    out.push_back(static_cast<T>(value));
  }
  return true;
}

template <typename T>
bool convert_numbers(const GgufArray& array, std::vector<T>& out) {
  out.reserve(array.count);
  if constexpr (std::is_floating_point_v<T>) {
    if (array.element == GgufType::f32) return convert_array<T, float>(array, out);
    if (array.element == GgufType::f64) return convert_array<T, double>(array, out);
    return false;
  } else {
    switch (array.element) {
      case GgufType::u8:
        return convert_array<T, uint8_t>(array, out);
      case GgufType::i8:
        return convert_array<T, int8_t>(array, out);
      case GgufType::u16:
        return convert_array<T, uint16_t>(array, out);
      case GgufType::i16:
        return convert_array<T, int16_t>(array, out);
      case GgufType::u32:
        return convert_array<T, uint32_t>(array, out);
      case GgufType::i32:
        return convert_array<T, int32_t>(array, out);
      case GgufType::u64:
        return convert_array<T, uint64_t>(array, out);
      case GgufType::i64:
        return convert_array<T, int64_t>(array, out);
      default:
        return false;
    }
  }
}

template <typename T>
std::optional<std::vector<T>> find_numbers(const GgufFile& file, std::string_view key, std::string_view wanted) {
  const GgufValue* value = file.find(key);
  if (!value) return std::nullopt;
  const auto* array = std::get_if<GgufArray>(value);
  std::vector<T> numbers;
  if (!array || !convert_numbers(*array, numbers)) wrong_value(file, key, *value, wanted);
  return numbers;
}

template <typename T>
T required(const GgufFile& file, std::string_view key, std::optional<T> value) {
  if (!value) {
    throw Error(ErrorCode::invalid_file, "read " + file.source, fmt::format("metadata {} is missing", in_quotes(key)));
  }
  return *std::move(value);
}

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  return kTypeNames.at(static_cast<size_t>(type));
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = metadata.find(key);
  return found == metadata.end() ? nullptr : &found->second;
}

std::optional<uint32_t> GgufFile::find_u32(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  return std::visit(
      [&](const auto& v) -> uint32_t {
        if constexpr (is_integer<std::decay_t<decltype(v)>>) {
          if (std::in_range<uint32_t>(v)) return static_cast<uint32_t>(v);
        }
        wrong_value(*this, key, *value, "an integer from 0 to 2^32 - 1");
      },
      *value);
}

std::optional<float> GgufFile::find_f32(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* single = std::get_if<float>(value)) return *single;
  if (const auto* wide = std::get_if<double>(value)) return static_cast<float>(*wide);
  wrong_value(*this, key, *value, "a number of type f32 or f64");
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  wrong_value(*this, key, *value, "a bool");
}

std::optional<std::string> GgufFile::find_string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(value)) return *text;
  wrong_value(*this, key, *value, "a string");
}

std::optional<std::vector<std::string_view>> GgufFile::find_strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  const auto* array = std::get_if<GgufArray>(value);
  if (!array || array->element != GgufType::string) wrong_value(*this, key, *value, "an array of strings");
  return array->strings;
}

std::optional<std::vector<float>> GgufFile::find_f32s(std::string_view key) const {
  return find_numbers<float>(*this, key, "an array of f32 or f64");
}

std::optional<std::vector<int64_t>> GgufFile::find_ints(std::string_view key) const {
  return find_numbers<int64_t>(*this, key, "an array of integers below 2^63");
}

uint32_t GgufFile::get_u32(std::string_view key) const {
  return required(*this, key, find_u32(key));
}
float GgufFile::get_f32(std::string_view key) const {
  return required(*this, key, find_f32(key));
}
bool GgufFile::get_bool(std::string_view key) const {
  return required(*this, key, find_bool(key));
}
std::string GgufFile::get_string(std::string_view key) const {
  return required(*this, key, find_string(key));
}
std::vector<std::string_view> GgufFile::get_strings(std::string_view key) const {
  return required(*this, key, find_strings(key));
}
std::vector<float> GgufFile::get_f32s(std::string_view key) const {
  return required(*this, key, find_f32s(key));
}
std::vector<int64_t> GgufFile::get_ints(std::string_view key) const {
  return required(*this, key, find_ints(key));
}

}  // namespace mxq
