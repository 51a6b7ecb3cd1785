#include "format/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "format/ggml_blocks.h"
#include "format/half_bits.h"
#include "format/strict_json.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr int64_t kChunk = int64_t{1} << 16;  // elements a task; a multiple of every block

// base/half.h without branches, so that the loops below vectorise; equal bit for bit (weights_test.cc). Sources and
// destinations in files may be unaligned, hence memcpy.

inline uint16_t narrow_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  uint32_t half = select_bits(magnitude < 0x38800000u, subnormal, normal);
  half = select_bits(magnitude >= 0x477ff000u, 0x7c00u, half);
  half = select_bits(magnitude > 0x7f800000u, 0x7e00u, half);
  return static_cast<uint16_t>(half | (bits >> 16 & 0x8000u));
}

inline float widen_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t narrow_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = bits >> 16 | 0x40u;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

inline double widen_f32(float value) {
  return value;
}

constexpr int kLanes = 32;  // a trip count that the compiler sees is what makes it vectorise at -O2

/// Convert(In) -> Out for `count` items at any alignment.
template <typename In, typename Out, auto Convert>
void convert(const void* in, int64_t count, void* out) {
  const auto* source = static_cast<const std::byte*>(in);
  auto* target = static_cast<std::byte*>(out);
  for (; count >= kLanes; count -= kLanes, source += kLanes * sizeof(In), target += kLanes * sizeof(Out)) {
    std::array<In, kLanes> from;
    std::array<Out, kLanes> to;
    std::memcpy(from.data(), source, sizeof(from));
    for (size_t k = 0; k < kLanes; ++k) to[k] = Convert(from[k]);
    std::memcpy(target, to.data(), sizeof(to));
  }
  for (; count > 0; --count, source += sizeof(In), target += sizeof(Out)) {
    In from;
    std::memcpy(&from, source, sizeof(In));
    const Out to = Convert(from);
    std::memcpy(target, &to, sizeof(Out));
  }
}

/// Doubles rounded to floats. What a float cannot hold is no weight.
void read_f64(const TensorView& tensor, const std::byte* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    double value = 0;
    std::memcpy(&value, in + i * static_cast<int64_t>(sizeof(double)), sizeof(double));
    if (std::isfinite(value) && std::fabs(value) > double{std::numeric_limits<float>::max()}) {
      throw Error(ErrorCode::unsupported, "read weights",
                  fmt::format("tensor {} holds {}", in_quotes(tensor.name), value), "numbers that F32 can hold");
    }
    out[i] = static_cast<float>(value);
  }
}

/// Calls body(first, count) for the chunks of [0, total).
template <typename Body>
void for_chunks(int64_t total, const Body& body) {
  parallel_for((total + kChunk - 1) / kChunk,
               [&](int64_t i) { body(i * kChunk, std::min(kChunk, total - i * kChunk)); });
}

/// The first of `count` finite values that `dtype` makes infinite; else -1. zeros: how many that are not 0 become 0.
int64_t scan_narrowed(const float* values, int64_t count, DType dtype, int64_t& zeros) {
  const bool half = dtype == DType::f16;
  int64_t lost = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t bits = half ? narrow_f16(values[i]) : narrow_bf16(values[i]);
    if ((bits & 0x7fffu) == (half ? 0x7c00u : 0x7f80u) && std::isfinite(values[i])) return i;
    lost += (bits & 0x7fffu) == 0 && values[i] != 0;
  }
  zeros += lost;
  return -1;
}

/// The same for values that are NaN or infinite: those whose exponent has all its bits set.
template <typename Bits, Bits kExponent>
int64_t scan_not_finite(const std::byte* values, int64_t count) {
  const auto bad = [](Bits bits) { return (bits & kExponent) == kExponent; };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    std::array<Bits, kLanes> some;
    std::memcpy(some.data(), values + i * static_cast<int64_t>(sizeof(Bits)), sizeof(some));
    Bits any = 0;
    for (const Bits bits : some) any |= static_cast<Bits>(bad(bits));
    if (any != 0) return i + (std::find_if(some.begin(), some.end(), bad) - some.begin());
  }
  for (; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, values + i * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
    if (bad(bits)) return i;
  }
  return -1;
}

int64_t scan_not_finite(const std::byte* values, int64_t count, DType dtype) {
  switch (dtype) {
    case DType::f64:
      return scan_not_finite<uint64_t, 0x7ff0000000000000u>(values, count);
    case DType::f32:
      return scan_not_finite<uint32_t, 0x7f800000u>(values, count);
    case DType::f16:
      return scan_not_finite<uint16_t, 0x7c00u>(values, count);
    case DType::bf16:
      return scan_not_finite<uint16_t, 0x7f80u>(values, count);
    default:
      return -1;
  }
}

/// The least of what is not negative, or -1.
int64_t first_of(const std::vector<int64_t>& found) {
  const auto first = std::find_if(found.begin(), found.end(), [](int64_t at) { return at >= 0; });
  return first == found.end() ? -1 : *first;
}

}  // namespace

int64_t first_not_finite(const std::byte* values, int64_t count, DType dtype) {
  if (count <= kChunk) return scan_not_finite(values, count, dtype);
  std::vector<int64_t> found(static_cast<size_t>((count + kChunk - 1) / kChunk), -1);
  for_chunks(count, [&](int64_t begin, int64_t n) {
    const int64_t at = scan_not_finite(values + begin * dtype_block_bytes(dtype), n, dtype);
    found[static_cast<size_t>(begin / kChunk)] = at < 0 ? -1 : begin + at;
  });
  return first_of(found);
}

int64_t first_overflow(const float* values, int64_t count, DType dtype, int64_t& zeros) {
  if (dtype != DType::f16 && dtype != DType::bf16) return -1;
  const int64_t chunks = (count + kChunk - 1) / kChunk;
  std::vector<int64_t> found(static_cast<size_t>(chunks), -1), lost(static_cast<size_t>(chunks), 0);
  for_chunks(count, [&](int64_t begin, int64_t n) {
    const auto chunk = static_cast<size_t>(begin / kChunk);
    const int64_t at = scan_narrowed(values + begin, n, dtype, lost[chunk]);
    found[chunk] = at < 0 ? -1 : begin + at;
  });
  for (const int64_t n : lost) zeros += n;
  return first_of(found);
}

void read_f32(const TensorView& tensor, int64_t first, int64_t count, float* out) {
  const DType dtype = tensor.dtype;
  if (!dtype_is_weight(dtype)) {
    throw Error(ErrorCode::unsupported, "read weights",
                fmt::format("tensor {} has dtype {}", in_quotes(tensor.name), dtype_name(dtype)),
                "F64, F32, F16, BF16 or a type of GGUF's blocks");
  }
  const int64_t block = dtype_block_elements(dtype), elements = tensor.elements();
  if (first < 0 || count < 0 || first > elements || count > elements - first || first % block != 0 ||
      count % block != 0) {
    throw Error(ErrorCode::usage, "read weights",
                fmt::format("{} elements from {} on of tensor {}", count, first, in_quotes(tensor.name)),
                fmt::format("whole blocks of {} among its {} elements", block, elements));
  }
  const int64_t unit = dtype_block_bytes(dtype);
  const std::byte* bytes = tensor.bytes.data() + first / block * unit;
  for_chunks(count, [&](int64_t begin, int64_t n) {
    const std::byte* in = bytes + begin / block * unit;
    switch (dtype) {
      case DType::f32:
        std::memcpy(out + begin, in, static_cast<size_t>(n) * sizeof(float));
        break;
      case DType::f64:
        read_f64(tensor, in, n, out + begin);
        break;
      case DType::f16:
        convert<uint16_t, float, widen_f16>(in, n, out + begin);
        break;
      case DType::bf16:
        convert<uint16_t, float, widen_bf16>(in, n, out + begin);
        break;
      default:
        dequantize_ggml_blocks(dtype, in, n / block, out + begin);
    }
  });
}

void write_dtype(const float* values, int64_t count, DType dtype, std::byte* out) {
  if (dtype != DType::f64 && dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16) {
    throw Error(ErrorCode::unsupported, "write weights", fmt::format("dtype {}", dtype_name(dtype)),
                "F64, F32, F16, BF16");
  }
  const int64_t unit = dtype_block_bytes(dtype);
  for_chunks(count, [&](int64_t begin, int64_t n) {
    std::byte* place = out + begin * unit;
    switch (dtype) {
      case DType::f64:
        convert<float, double, widen_f32>(values + begin, n, place);
        break;
      case DType::f16:
        convert<float, uint16_t, narrow_f16>(values + begin, n, place);
        break;
      case DType::bf16:
        convert<float, uint16_t, narrow_bf16>(values + begin, n, place);
        break;
      default:
        std::memcpy(place, values + begin, static_cast<size_t>(n) * sizeof(float));
    }
  });
}

}  // namespace mxq
