// The second level of bitsandbytes's blockwise quantization: the blocks' largest magnitudes in 8 bits each.
#pragma once

#include <cstdint>
#include <span>

namespace mxq::blockwise {

/// Values that share a nested_absmax.
inline constexpr int64_t kNestedBlock = 256;

/// The 256 values of the dynamic map, ascending (Dettmers, "8-Bit Approximations for Parallelism in Deep Learning",
/// arXiv 1511.04561: a sign, an exponent of varying length, a linear fraction).
std::span<const float> dynamic_map();

/// absmax -> offset, a nested_absmax for each kNestedBlock values, and a code each. The sum behind the mean is taken in
/// the order in which PyTorch takes it on one thread, and values go through a table of 2^16 entries: the code is the
/// nearest entry's, not always the value's own.
void double_quantize(std::span<const float> absmax, float& offset, std::span<float> nested_absmax,
                     std::span<uint8_t> codes);

}  // namespace mxq::blockwise
