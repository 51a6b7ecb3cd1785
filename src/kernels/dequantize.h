// Inner loops of dequantizing: W = (q - zero) * scale, W = q * scale + bias or W = levels[q] * scale in fp32.
#pragma once

#include <cstdint>

namespace mxq {

/// `n` codes of `bits` bits (1..8) from the start of a dense stream of `stream_bytes` bytes, in groups of `group`
/// (a multiple of 16) codes with a scale and a zero each; n need not be whole groups. Reads only within the stream,
/// which the caller has checked to hold the n codes.
void dequantize_groups(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                       const float* zeros, float* out);

/// The same with W = q * scale + bias: a product and a sum, each rounded.
void dequantize_biased(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                       const float* biases, float* out);

/// The same with a table of 2^bits levels, bits 1..4, instead of zeros.
void dequantize_levels(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                       const float* levels, float* out);

/// Code, scale and zero of every element apart.
void dequantize_elements(const uint8_t* codes, int64_t n, const float* scales, const float* zeros, float* out);

namespace ref {
void dequantize_groups(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                       const float* zeros, float* out);
void dequantize_biased(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                       const float* biases, float* out);
void dequantize_levels(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                       const float* levels, float* out);
void dequantize_elements(const uint8_t* codes, int64_t n, const float* scales, const float* zeros, float* out);
}  // namespace ref

}  // namespace mxq
