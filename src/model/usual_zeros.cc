#include "model/usual_zeros.h"

#include <algorithm>
#include <map>
#include <utility>

#include "format/weights.h"

namespace mxq {

namespace {

constexpr size_t kZeros = 2;  // among an affine matrix's parts

bool lacks_zeros(const QuantizedFolder::Matrix& matrix) {
  return matrix.view.parts[kZeros].empty() && matrix.view.layout.groups() > 0;
}

}  // namespace

void add_usual_zeros(QuantizedFolder& folder) {
  std::map<std::pair<int, DType>, int64_t> needs;  // elements
  for (const auto& matrix : folder.matrices) {
    if (!lacks_zeros(matrix)) continue;
    const PartSpec zeros = matrix.view.layout.parts()[kZeros];
    int64_t& need = needs[{matrix.view.layout.scheme.bits, zeros.dtype}];
    need = std::max(need, zeros.elements);
  }
  std::map<std::pair<int, DType>, std::span<const std::byte>> made;
  for (const auto& [key, count] : needs) {
    const auto& [bits, dtype] = key;
    const std::vector<float> values(static_cast<size_t>(count), static_cast<float>(1 << (bits - 1)));
    auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(dtype_bytes(dtype, count)));
    write_dtype(values.data(), count, dtype, bytes->data());
    made[key] = *bytes;
    folder.made.push_back(std::move(bytes));
  }
  for (auto& matrix : folder.matrices) {
    if (!lacks_zeros(matrix)) continue;
    const PartSpec zeros = matrix.view.layout.parts()[kZeros];
    matrix.view.parts[kZeros] =
        made.at({matrix.view.layout.scheme.bits, zeros.dtype}).first(static_cast<size_t>(zeros.bytes()));
  }
}

}  // namespace mxq
