// The metadata of a GGUF that describe its model, as they are written: the other side of GgufFields.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/gguf_writer.h"

namespace mxq {

/// Collects entries under the architecture's prefix ("llama."). Names are those behind it; numbers are u32 and f32, as
/// llama.cpp's loader wants them.
class GgufKeys {
 public:
  explicit GgufKeys(std::string_view architecture) : prefix_(std::string(architecture) + ".") {}

  void u32(std::string_view name, int64_t value) { add(name, static_cast<uint32_t>(value)); }
  void f32(std::string_view name, double value) { add(name, static_cast<float>(value)); }
  void text(std::string_view name, std::string value) { add(name, std::move(value)); }
  void flags(std::string_view name, std::vector<bool> values) { add(name, std::move(values)); }
  void i32s(std::string_view name, std::vector<int32_t> values) { add(name, std::move(values)); }

  std::vector<GgufEntry> take() { return std::move(entries_); }

 private:
  void add(std::string_view name, GgufOwnValue value) {
    entries_.push_back({prefix_ + std::string(name), std::move(value)});
  }

  std::string prefix_;
  std::vector<GgufEntry> entries_;
};

}  // namespace mxq
