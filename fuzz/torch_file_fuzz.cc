// Any bytes as a file of torch.save: an Error, or tensors whose every element lies in those bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "format/strided.h"
#include "format/torch_file.h"
#include "mxq/error.h"

namespace {

volatile unsigned sink;

void require(bool condition) {
  if (!condition) std::abort();
}

// Reads every byte, so that AddressSanitizer sees a view that reaches too far.
void touch(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte b : bytes) sum += static_cast<unsigned>(b);
  sink = sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto stored = mxq::parse_torch_file(std::as_bytes(std::span(data, size)), "input");
    std::set<std::string_view> names;
    size_t read = 0;
    for (const mxq::TensorView& tensor : stored.tensors) {
      require(names.insert(tensor.name).second);
      require(tensor.bytes.size() <= size);
      // Many names may share a storage: enough of them are looked at.
      if ((read += tensor.bytes.size() + static_cast<size_t>(tensor.elements())) > 16 * size + 4096) break;
      touch(tensor.bytes);
      const int64_t unit = mxq::dtype_block_bytes(tensor.dtype);
      const auto strides = stored.strides.find(tensor.name);
      if (strides == stored.strides.end()) {
        require(static_cast<int64_t>(tensor.bytes.size()) == tensor.elements() * unit);
        continue;
      }
      const mxq::StridedRows rows{
          .shape = tensor.shape, .strides = strides->second, .bytes = tensor.bytes, .unit = unit};
      std::vector<std::byte> all(static_cast<size_t>(tensor.elements() * unit));
      rows.gather(0, tensor.shape.front(), all.data());
      touch(all);
    }
  } catch (const mxq::Error&) {
    // The one way to reject; anything else ends the fuzzer.
  }
  return 0;
}
