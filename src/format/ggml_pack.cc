#include "format/ggml_pack.h"

#include <cstring>

namespace mxq {

namespace {

/// Writes bytes one after another.
class Bytes {
 public:
  explicit Bytes(std::byte* to) : to_(reinterpret_cast<uint8_t*>(to)) {}

  void half(uint16_t bits) {
    std::memcpy(to_, &bits, sizeof bits);
    to_ += sizeof bits;
  }
  void byte(int value) { *to_++ = static_cast<uint8_t>(value); }

 private:
  uint8_t* to_;
};

/// Half a block of 32 codes on: 16 bytes with the low four bits of weights j and j + 16.
void nibbles_of_32(const uint8_t* codes, Bytes& to) {
  for (int j = 0; j < 16; ++j) to.byte((codes[j] & 15) | (codes[j + 16] & 15) << 4);
}

/// 32 bytes with the low four bits of weights j and j + 32.
void nibbles_of_64(const uint8_t* codes, Bytes& to) {
  for (int j = 0; j < 32; ++j) to.byte((codes[j] & 15) | (codes[j + 32] & 15) << 4);
}

/// 32 bytes with the low two bits of weights j, j + 32, j + 64 and j + 96.
void pairs_of_128(const uint8_t* codes, Bytes& to) {
  for (int j = 0; j < 32; ++j) {
    to.byte((codes[j] & 3) | (codes[j + 32] & 3) << 2 | (codes[j + 64] & 3) << 4 | (codes[j + 96] & 3) << 6);
  }
}

void fifth_bits(const uint8_t* codes, Bytes& to) {
  for (int b = 0; b < 4; ++b) {
    int bits = 0;
    for (int j = 0; j < 8; ++j) bits |= (codes[8 * b + j] >> 4 & 1) << j;
    to.byte(bits);
  }
}

void q2_k(const GgmlBlock& block, Bytes& to) {
  for (int g = 0; g < 16; ++g) to.byte((block.scales[g] & 15) | (block.mins[g] & 15) << 4);
  pairs_of_128(block.codes, to);
  pairs_of_128(block.codes + 128, to);
  to.half(block.d);
  to.half(block.m);
}

void q3_k(const GgmlBlock& block, Bytes& to) {
  for (int j = 0; j < 32; ++j) {
    int bits = 0;
    for (int k = 0; k < 8; ++k) bits |= (block.codes[32 * k + j] >> 2 & 1) << k;
    to.byte(bits);
  }
  pairs_of_128(block.codes, to);
  pairs_of_128(block.codes + 128, to);
  const auto scale = [&](int g) { return block.scales[g] + 32; };
  for (int g = 0; g < 8; ++g) to.byte((scale(g) & 15) | (scale(g + 8) & 15) << 4);
  for (int g = 0; g < 4; ++g) {
    to.byte(scale(g) >> 4 | (scale(g + 4) >> 4) << 2 | (scale(g + 8) >> 4) << 4 | (scale(g + 12) >> 4) << 6);
  }
  to.half(block.d);
}

/// The 12 bytes of Q4_K and Q5_K: see UnpackScalesAndMins() of ggml_k_blocks-inl.h.
void scales_and_mins(const GgmlBlock& block, Bytes& to) {
  for (int g = 0; g < 4; ++g) to.byte((block.scales[g] & 63) | (block.scales[g + 4] >> 4) << 6);
  for (int g = 0; g < 4; ++g) to.byte((block.mins[g] & 63) | (block.mins[g + 4] >> 4) << 6);
  for (int g = 4; g < 8; ++g) to.byte((block.scales[g] & 15) | (block.mins[g] & 15) << 4);
}

void q4_k(const GgmlBlock& block, Bytes& to) {
  to.half(block.d);
  to.half(block.m);
  scales_and_mins(block, to);
  for (int k = 0; k < 4; ++k) nibbles_of_64(block.codes + 64 * k, to);
}

void q5_k(const GgmlBlock& block, Bytes& to) {
  to.half(block.d);
  to.half(block.m);
  scales_and_mins(block, to);
  for (int j = 0; j < 32; ++j) {
    int bits = 0;
    for (int k = 0; k < 8; ++k) bits |= (block.codes[32 * k + j] >> 4 & 1) << k;
    to.byte(bits);
  }
  for (int k = 0; k < 4; ++k) nibbles_of_64(block.codes + 64 * k, to);
}

void q6_k(const GgmlBlock& block, Bytes& to) {
  for (int half = 0; half < 2; ++half) {
    const uint8_t* const codes = block.codes + 128 * half;
    for (int j = 0; j < 64; ++j) to.byte((codes[j] & 15) | (codes[j + 64] & 15) << 4);
  }
  for (int half = 0; half < 2; ++half) {
    const uint8_t* const codes = block.codes + 128 * half;
    for (int j = 0; j < 32; ++j) {
      to.byte(codes[j] >> 4 | (codes[j + 32] >> 4) << 2 | (codes[j + 64] >> 4) << 4 | (codes[j + 96] >> 4) << 6);
    }
  }
  for (int g = 0; g < 16; ++g) to.byte(block.scales[g]);
  to.half(block.d);
}

void iq4_xs(const GgmlBlock& block, Bytes& to) {
  to.half(block.d);
  int high = 0;
  for (int g = 0; g < 8; ++g) high |= ((block.scales[g] + 32) >> 4) << (2 * g);
  to.half(static_cast<uint16_t>(high));
  for (int g = 0; g < 8; g += 2) to.byte(((block.scales[g] + 32) & 15) | ((block.scales[g + 1] + 32) & 15) << 4);
  for (int g = 0; g < 8; ++g) nibbles_of_32(block.codes + 32 * g, to);
}

}  // namespace

bool can_pack_ggml(DType dtype) {
  switch (dtype) {
    case DType::q4_0:
    case DType::q4_1:
    case DType::q5_0:
    case DType::q5_1:
    case DType::q8_0:
    case DType::q2_k:
    case DType::q3_k:
    case DType::q4_k:
    case DType::q5_k:
    case DType::q6_k:
    case DType::iq4_nl:
    case DType::iq4_xs:
      return true;
    default:
      return false;
  }
}

void pack_ggml_block(DType dtype, const GgmlBlock& block, std::byte* bytes) {
  Bytes to(bytes);
  switch (dtype) {
    case DType::q2_k:
      return q2_k(block, to);
    case DType::q3_k:
      return q3_k(block, to);
    case DType::q4_k:
      return q4_k(block, to);
    case DType::q5_k:
      return q5_k(block, to);
    case DType::q6_k:
      return q6_k(block, to);
    case DType::iq4_xs:
      return iq4_xs(block, to);
    default:
      break;
  }
  to.half(block.d);
  if (dtype == DType::q4_1 || dtype == DType::q5_1) to.half(block.m);
  if (dtype == DType::q8_0) {
    for (int j = 0; j < 32; ++j) to.byte(block.codes[j] - 128);
    return;
  }
  if (dtype == DType::q5_0 || dtype == DType::q5_1) fifth_bits(block.codes, to);
  nibbles_of_32(block.codes, to);
}

}  // namespace mxq
