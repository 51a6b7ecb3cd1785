#include "model/gguf_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "model/config_checks.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

double shortest_decimal(float value) {
  return *parse_double(fmt::format("{}", value));
}

bool is_positive(float value) {
  return std::isfinite(value) && value > 0;
}

}  // namespace

void GgufFields::missing(std::string_view name) const {
  refuse_config(file_->source, fmt::format("metadata '{}' is missing", key(name)));
}

std::optional<int64_t> GgufFields::find_int(std::string_view name, int64_t low, int64_t high) const {
  const GgufValue* value = file_->find(key(name));
  if (!value) return std::nullopt;
  int64_t number = 0;
  if (std::holds_alternative<GgufArray>(*value)) {
    const auto numbers = file_->get_ints(key(name));
    if (numbers.empty() || std::adjacent_find(numbers.begin(), numbers.end(), std::not_equal_to<>()) != numbers.end()) {
      throw Error(ErrorCode::unsupported, "read " + file_->source,
                  fmt::format("'{}' differs between layers", key(name)), "one value for all layers");
    }
    number = numbers.front();
  } else {
    number = file_->get_u32(key(name));
  }
  if (number < low || number > high) {
    refuse_config(file_->source, fmt::format("'{}' is {}", key(name), number),
                  fmt::format("an integer from {} to {}", low, high));
  }
  return number;
}

int64_t GgufFields::get_int(std::string_view name, int64_t low, int64_t high) const {
  const auto value = find_int(name, low, high);
  if (!value) missing(name);
  return *value;
}

std::optional<double> GgufFields::find_positive(std::string_view name) const {
  const auto value = file_->find_f32(key(name));
  if (!value) return std::nullopt;
  if (!is_positive(*value)) {
    refuse_config(file_->source, fmt::format("'{}' is {}", key(name), *value), "a number above 0");
  }
  return shortest_decimal(*value);
}

double GgufFields::get_positive(std::string_view name) const {
  const auto value = find_positive(name);
  if (!value) missing(name);
  return *value;
}

std::optional<double> GgufFields::find_unless_0(std::string_view name) const {
  return file_->find_f32(key(name)) == 0.0F ? std::nullopt : find_positive(name);
}

std::optional<std::string> GgufFields::find_string(std::string_view name) const {
  return file_->find_string(key(name));
}

std::optional<std::vector<bool>> GgufFields::find_flags(std::string_view name) const {
  const GgufValue* value = file_->find(key(name));
  const GgufArray* list = value != nullptr ? std::get_if<GgufArray>(value) : nullptr;
  if (list == nullptr) return std::nullopt;
  std::vector<int64_t> numbers;
  if (list->element == GgufType::boolean) {
    for (const std::byte flag : list->bytes) numbers.push_back(std::to_integer<int64_t>(flag));
  } else {
    numbers = file_->get_ints(key(name));
  }
  std::vector<bool> flags;
  for (const int64_t number : numbers) {
    if (number != 0 && number != 1) {
      refuse_config(file_->source, fmt::format("'{}' has {}", key(name), number), "0 or 1");
    }
    flags.push_back(number == 1);
  }
  return flags;
}

const TensorView* GgufFields::find_tensor(std::string_view name) const {
  const auto& tensors = file_->tensors;
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

std::vector<double> GgufFields::table(const TensorView& tensor) const {
  if (tensor.dtype != DType::f32) {
    refuse_config(file_->source, fmt::format("tensor '{}' is {}", tensor.name, dtype_name(tensor.dtype)), "F32");
  }
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  std::vector<double> numbers;
  for (const float value : values) {
    if (!is_positive(value)) {
      refuse_config(file_->source, fmt::format("tensor '{}' has {}", tensor.name, value), "numbers above 0");
    }
    numbers.push_back(shortest_decimal(value));
  }
  return numbers;
}

}  // namespace mxq
