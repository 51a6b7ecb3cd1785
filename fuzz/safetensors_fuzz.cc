// Any bytes as a safetensors file: an Error, or tensors that keep what the header's contract promises.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/foreign_dtype.h"
#include "format/safetensors.h"
#include "format/safetensors_writer.h"
#include "format/weights.h"
#include "mxq/error.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const mxq::SafetensorsHeader& header, std::span<const std::byte> file) {
  std::set<std::string_view> names;
  std::vector<mxq::TensorSpec> specs;
  size_t total = 0;
  for (const mxq::TensorView& tensor : header.tensors) {
    require(names.insert(tensor.name).second);
    const auto bytes = static_cast<int64_t>(tensor.bytes.size());
    const bool foreign = mxq::is_foreign(tensor.dtype);
    require(foreign || bytes == mxq::dtype_bytes(tensor.dtype, tensor.elements()));
    // Each byte must be there to be read.
    volatile int sum = std::accumulate(tensor.bytes.begin(), tensor.bytes.end(), 0,
                                       [](int s, std::byte b) { return s + std::to_integer<int>(b); });
    (void)sum;
    total += tensor.bytes.size();
    if (mxq::dtype_is_weight(tensor.dtype)) {
      std::vector<float> values(static_cast<size_t>(tensor.elements()));
      try {
        mxq::read_f32(tensor, 0, tensor.elements(), values.data());
      } catch (const mxq::Error&) {
        require(tensor.dtype == mxq::DType::f64);  // beyond F32's range
      }
    }
    specs.push_back({tensor.name, tensor.dtype, tensor.shape, foreign ? std::optional(bytes) : std::nullopt});
  }
  require(total <= file.size());

  // What was read can be written, and reads as the same again.
  std::string copy = mxq::safetensors_header(specs, header.metadata);
  for (const mxq::TensorView& tensor : header.tensors) {
    copy.append(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
  }
  const auto again = mxq::parse_safetensors(std::as_bytes(std::span(copy)), "copy");
  require(again.metadata == header.metadata && again.tensors.size() == header.tensors.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    require(again.tensors[i].name == specs[i].name && again.tensors[i].shape == specs[i].shape);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  try {
    check(mxq::parse_safetensors(file, "input"), file);
  } catch (const mxq::Error&) {
    // The one way to reject; anything else ends the fuzzer.
  }
  return 0;
}
