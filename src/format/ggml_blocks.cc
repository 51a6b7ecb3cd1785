#include "format/ggml_blocks.h"

#include "base/half.h"

namespace mxq {

namespace {

constexpr int kElements = 32;

float read_half(const std::byte* bytes) {
  return f32_from_f16(
      static_cast<uint16_t>(std::to_integer<unsigned>(bytes[0]) | std::to_integer<unsigned>(bytes[1]) << 8));
}

/// Bits: 4 or 5; HasMin: whether m follows d, else codes are centred about 2^(Bits - 1).
template <int Bits, bool HasMin>
void dequantize_nibbles(const std::byte* bytes, float* out) {
  const float scale = read_half(bytes);
  const float min = HasMin ? read_half(bytes + 2) : 0.f;
  bytes += HasMin ? 4 : 2;
  uint32_t high = 0;
  if constexpr (Bits == 5) {
    for (int i = 0; i < 4; ++i) high |= std::to_integer<uint32_t>(bytes[i]) << (8 * i);
    bytes += 4;
  }
  const auto value = [&](int element, unsigned nibble) {
    int code = static_cast<int>(nibble);
    if constexpr (Bits == 5) code |= static_cast<int>((high >> element) & 1u) << 4;
    if constexpr (!HasMin) return scale * static_cast<float>(code - (1 << (Bits - 1)));
    const float product = scale * static_cast<float>(code);  // rounded by itself: never fused with the sum
    return product + min;
  };
  for (int j = 0; j < kElements / 2; ++j) {
    const auto pair = std::to_integer<unsigned>(bytes[j]);
    out[j] = value(j, pair & 15u);
    out[j + kElements / 2] = value(j + kElements / 2, pair >> 4);
  }
}

void dequantize_q8_0(const std::byte* bytes, float* out) {
  const float scale = read_half(bytes);
  for (int j = 0; j < kElements; ++j) {
    out[j] = scale * static_cast<float>(static_cast<int8_t>(std::to_integer<uint8_t>(bytes[2 + j])));
  }
}

using BlockFunction = void (*)(const std::byte*, float*);

BlockFunction block_function(DType dtype) {
  switch (dtype) {
    case DType::q4_0:
      return dequantize_nibbles<4, false>;
    case DType::q4_1:
      return dequantize_nibbles<4, true>;
    case DType::q5_0:
      return dequantize_nibbles<5, false>;
    case DType::q5_1:
      return dequantize_nibbles<5, true>;
    default:
      return dequantize_q8_0;
  }
}

}  // namespace

void dequantize_ggml_blocks(DType dtype, const std::byte* bytes, int64_t blocks, float* out) {
  const BlockFunction dequantize = block_function(dtype);
  const int64_t stride = dtype_block_bytes(dtype);
  for (int64_t i = 0; i < blocks; ++i) dequantize(bytes + i * stride, out + i * kElements);
}

}  // namespace mxq
