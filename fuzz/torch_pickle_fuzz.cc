// Any bytes as the pickle of a torch.save archive that has two storages: an Error, or values that refer to each other
// and to the storages only.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "format/pickle.h"
#include "format/torch_globals.h"
#include "mxq/error.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

bool is_below(int64_t number, size_t count) {
  return number >= 0 && static_cast<size_t>(number) < count;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::array<std::byte, 24> zero{};
  static const std::array<std::byte, 64> one{};
  mxq::TorchZip archive;
  archive.pickle = std::as_bytes(std::span(data, size));
  archive.storages = {{"0", zero}, {"1", one}};
  try {
    const auto [all, root] = mxq::parse_pickle(archive, "input");
    require(root < all.values.size());
    for (const mxq::PickleValue& value : all.values) {
      for (const uint32_t item : value.items) require(item < all.values.size());
      if (value.kind == mxq::PickleValue::tensor) require(is_below(value.number, all.tensors.size()));
      if (value.kind == mxq::PickleValue::storage) require(is_below(value.number, all.storages.size()));
      if (value.kind == mxq::PickleValue::global) require(is_below(value.number, mxq::torch_globals().size()));
    }
    for (const mxq::TorchTensor& tensor : all.tensors) {
      require(tensor.shape.size() == tensor.strides.size());
      require(tensor.bytes.size() <= one.size());
      int64_t last = 0, elements = 1;
      for (size_t i = 0; i < tensor.shape.size(); ++i) {
        require(tensor.shape[i] >= 0 && tensor.strides[i] >= 0);
        elements *= tensor.shape[i] == 0 ? 0 : 1;
      }
      for (size_t i = 0; elements > 0 && i < tensor.shape.size(); ++i)
        last += (tensor.shape[i] - 1) * tensor.strides[i];
      const int64_t needed = elements == 0 ? 0 : (last + 1) * mxq::dtype_block_bytes(tensor.dtype);
      require(static_cast<int64_t>(tensor.bytes.size()) == needed);
    }
  } catch (const mxq::Error&) {
    // The one way to reject; anything else ends the fuzzer.
  }
  return 0;
}
