#include "schemes/blockwise/blockwise.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/parallel.h"
#include "mxq/error.h"
#include "schemes/blockwise/double_quantization.h"
#include "schemes/part_bytes.h"

namespace mxq {

namespace blockwise {

namespace {

/// Quantiles of the normal distribution, of both signs and with a 0 (the values that the QLoRA paper prints).
constexpr CodeTable kNormalFloat{-1.0f,
                                 -0.6961928009986877f,
                                 -0.5250730514526367f,
                                 -0.39491748809814453f,
                                 -0.28444138169288635f,
                                 -0.18477343022823334f,
                                 -0.09105003625154495f,
                                 0.0f,
                                 0.07958029955625534f,
                                 0.16093020141124725f,
                                 0.24611230194568634f,
                                 0.33791524171829224f,
                                 0.44070982933044434f,
                                 0.5626170039176941f,
                                 0.7229568362236023f,
                                 1.0f};

/// A sign, two bits of exponent and one of fraction, over the largest; the lowest two are 0 and a value of their own.
constexpr CodeTable float4() {
  constexpr float kMagnitudes[] = {0.0f, 0.0625f, 8.0f, 12.0f, 4.0f, 6.0f, 2.0f, 3.0f};
  CodeTable values{};
  for (size_t i = 0; i < 8; ++i) {
    values[i] = kMagnitudes[i] / 12.0f;
    values[i + 8] = i == 0 ? 0.0f : -values[i];
  }
  return values;
}

/// Below this a block is divided by this.
constexpr float kSmallestDivisor = 1e-38f;
/// Weights that a task does: a multiple of every block.
constexpr int64_t kChunk = 1 << 15;

int64_t block_count(const QuantizedLayout& layout) {
  const int64_t size = layout.rows * layout.cols, group = layout.scheme.group;
  return size / group + (size % group != 0);
}

void put(std::span<std::byte> bytes, std::span<const float> values) {
  std::memcpy(bytes.data(), values.data(), values.size_bytes());
}

float largest_magnitude(const float* weights, int64_t n) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(weights[i]));
  return largest;
}

}  // namespace

BlockwiseFamily::BlockwiseFamily(std::string_view name, std::string_view prefix, const CodeTable& values)
    : name_(name), prefix_(prefix), values_(values) {
  for (const int group : {32, 64, 128, 256}) schemes_.push_back({.bits = 4, .group = group, .family = name});
  // Of FP4's two zeros bitsandbytes sorts code 0 first.
  std::iota(order_.begin(), order_.end(), uint8_t{0});
  std::stable_sort(order_.begin(), order_.end(), [&](uint8_t a, uint8_t b) { return values_[a] < values_[b]; });
  for (size_t i = 0; i < midpoints_.size(); ++i) midpoints_[i] = (values_[order_[i]] + values_[order_[i + 1]]) / 2;
}

std::string BlockwiseFamily::scheme_name(const Scheme& scheme) const {
  return fmt::format("{}g{}", prefix_, scheme.group);
}

void BlockwiseFamily::check(const Scheme& scheme, int axis, Metadata metadata, const char* operation) const {
  if (std::find(schemes_.begin(), schemes_.end(), scheme) == schemes_.end()) {
    throw Error(ErrorCode::unsupported, operation, fmt::format("{} bits in blocks of {}", scheme.bits, scheme.group),
                "4 bits in blocks of 32, 64, 128 or 256");
  }
  if (axis != 1) throw Error(ErrorCode::unsupported, operation, fmt::format("{} on axis {}", prefix_, axis), "axis 1");
  if (metadata != Metadata::q8 && metadata != Metadata::f32) {
    throw Error(ErrorCode::unsupported, operation, fmt::format("{} with metadata {}", prefix_, metadata_name(metadata)),
                "q8 (double quantization) or f32");
  }
}

std::vector<PartSpec> BlockwiseFamily::parts(const QuantizedLayout& layout) const {
  const int64_t blocks = block_count(layout), codes = (layout.rows * layout.cols + 1) / 2;
  if (layout.metadata == Metadata::f32)
    return {{"absmax", DType::f32, blocks}, {"codes", DType::u8, padded_to_words(codes)}};
  return {{"offset", DType::f32, 1},
          {"nested_absmax", DType::f32, (blocks + kNestedBlock - 1) / kNestedBlock},
          {"absmax", DType::u8, blocks},
          {"codes", DType::u8, padded_to_words(blocks + codes) - blocks}};
}

void BlockwiseFamily::quantize(MatrixView matrix, const QuantizeOptions&, QuantizedMatrix& out) const {
  const int64_t size = matrix.size(), group = out.layout.scheme.group;
  std::vector<float> absmax(static_cast<size_t>(block_count(out.layout)));
  const auto codes = out.part("codes");
  parallel_for((size + kChunk - 1) / kChunk, [&](int64_t chunk) {
    std::vector<float> scaled(static_cast<size_t>(group));
    std::vector<int32_t> places(scaled.size() + 1);
    const int64_t end = std::min(size, (chunk + 1) * kChunk);
    for (int64_t first = chunk * kChunk; first < end; first += group) {
      const float* weights = matrix.data + first;
      const int64_t n = std::min(group, end - first);
      const float largest = largest_magnitude(weights, n), divisor = std::max(largest, kSmallestDivisor);
      if (n == group) {
        const float inverse = 1.0f / divisor;
        for (int64_t i = 0; i < n; ++i) scaled[i] = std::clamp(weights[i] * inverse, -1.0f, 1.0f);
      } else {  // bitsandbytes divides the weights of the last block, if it is short
        for (int64_t i = 0; i < n; ++i) scaled[i] = std::clamp(weights[i] / divisor, -1.0f, 1.0f);
      }
      absmax[first / group] = n == group ? largest : divisor;
      for (int64_t i = 0; i < n; ++i) {
        int32_t below = 0;
        for (const float midpoint : midpoints_) below += midpoint < scaled[i];
        places[i] = below;
      }
      // The odd one at the end shares its byte with a 0.
      if (n % 2 != 0)
        places[n] =
            static_cast<int32_t>(std::count_if(midpoints_.begin(), midpoints_.end(), [](float m) { return m < 0; }));
      for (int64_t i = 0; i < n; i += 2) {
        codes[(first + i) / 2] = static_cast<std::byte>(order_[places[i]] << 4 | order_[places[i + 1]]);
      }
    }
  });
  if (out.layout.metadata == Metadata::f32) return put(out.part("absmax"), absmax);
  float offset = 0;
  std::vector<float> nested(out.part("nested_absmax").size() / sizeof(float));
  const auto absmax_codes = out.part("absmax");
  double_quantize(absmax, offset, nested, {reinterpret_cast<uint8_t*>(absmax_codes.data()), absmax_codes.size()});
  put(out.part("offset"), {&offset, 1});
  put(out.part("nested_absmax"), nested);
}

void BlockwiseFamily::dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out) const {
  const QuantizedLayout& layout = matrix.layout;
  const int64_t group = layout.scheme.group, cols = layout.cols;
  const auto codes = matrix.part("codes"), absmax = matrix.part("absmax"), nested = matrix.part("nested_absmax");
  const float offset = layout.metadata == Metadata::q8 ? get_value<float>(matrix.part("offset"), 0) : 0;
  const auto map = dynamic_map();
  const auto largest = [&](int64_t block) {
    if (layout.metadata == Metadata::f32) return get_value<float>(absmax, block);
    return map[get_value<uint8_t>(absmax, block)] * get_value<float>(nested, block / kNestedBlock) + offset;
  };
  std::array<std::array<float, 2>, 256> pairs;  // both values of a byte
  for (size_t byte = 0; byte < pairs.size(); ++byte) pairs[byte] = {values_[byte >> 4], values_[byte & 15]};
  parallel_for(rows, [&](int64_t r) {
    float* to = out + r * cols;
    const int64_t begin = (first_row + r) * cols, end = begin + cols;
    for (int64_t at = begin; at < end;) {
      const int64_t block = at / group, stop = std::min(end, (block + 1) * group);
      const float scale = largest(block);
      const auto pair = [&](int64_t weight) { return pairs[std::to_integer<size_t>(codes[weight / 2])]; };
      if (at % 2 != 0) {
        *to++ = pair(at)[1] * scale;
        ++at;
      }
      for (; at + 1 < stop; at += 2, to += 2) {
        to[0] = pair(at)[0] * scale;
        to[1] = pair(at)[1] * scale;
      }
      if (at < stop) {
        *to++ = pair(at)[0] * scale;
        ++at;
      }
    }
  });
}

}  // namespace blockwise

const SchemeFamily& nf_family() {
  static const blockwise::BlockwiseFamily family("nf", "nf4", blockwise::kNormalFloat);
  return family;
}

const SchemeFamily& fp_family() {
  static const blockwise::BlockwiseFamily family("fp", "fp4", blockwise::float4());
  return family;
}

}  // namespace mxq
