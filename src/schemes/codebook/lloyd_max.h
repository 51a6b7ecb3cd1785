// The quantizer of least squared error for a normally distributed value.
#pragma once

#include <vector>

namespace mxq::codebook {

/// The 2^bits levels for variance 1, ascending and symmetric: each the mean of what is nearest to it (Max, "Quantizing
/// for Minimum Distortion", 1960; Lloyd, "Least Squares Quantization in PCM", 1982). bits is 1 to 4.
const std::vector<float>& lloyd_max_levels(int bits);

}  // namespace mxq::codebook
