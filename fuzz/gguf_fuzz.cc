// The GGUF reader must answer any bytes with a file or an Error, and every view it hands out must lie in those bytes.
// Weights of every type are read as floats too.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "format/gguf.h"
#include "format/weights.h"
#include "mxq/error.h"

namespace {

volatile unsigned sink;

// Reads every byte, so that AddressSanitizer sees a view that reaches too far.
void touch(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (std::byte b : bytes) sum += static_cast<unsigned>(b);
  sink = sum;
}

void read_weights(const mxq::TensorView& tensor) {
  if (!mxq::dtype_is_weight(tensor.dtype)) return;
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  try {
    mxq::read_f32(tensor, 0, tensor.elements(), values.data());
  } catch (const mxq::Error&) {  // F64 beyond F32's range
  }
  touch(std::as_bytes(std::span(values)));
}

// The typed accessors on every key, whatever its type.
void access(const mxq::GgufFile& file, const std::string& key) {
  const auto attempt = [](auto function) {
    try {
      (void)function();
    } catch (const mxq::Error&) {
    }
  };
  attempt([&] { return file.find_u32(key); });
  attempt([&] { return file.find_f32(key); });
  attempt([&] { return file.find_bool(key); });
  attempt([&] { return file.find_string(key); });
  attempt([&] { return file.find_f32s(key); });
  attempt([&] { return file.find_ints(key); });
  attempt([&] {
    const auto strings = file.find_strings(key);
    for (auto text : *strings) touch(std::as_bytes(std::span(text)));
    return strings;
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = mxq::parse_gguf(std::as_bytes(std::span(data, size)), "fuzz");
    for (const auto& [key, value] : file.metadata) access(file, key);
    size_t total = 0;
    for (const auto& tensor : file.tensors) {
      touch(tensor.bytes);
      read_weights(tensor);
      total += tensor.bytes.size();
      if (mxq::dtype_bytes(tensor.dtype, tensor.elements()) != static_cast<int64_t>(tensor.bytes.size())) std::abort();
    }
    if (total > size) std::abort();  // tensors never overlap
  } catch (const mxq::Error&) {
  }
  return 0;
}
