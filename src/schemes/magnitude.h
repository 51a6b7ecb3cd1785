// Weights too small or too large for what a scheme stores them with.
#pragma once

#include <span>
#include <string>

#include "mxq/scheme.h"
#include "mxq/tensor.h"

namespace mxq {

/// Throws Error(unsupported), naming scheme, metadata and the largest weight, where one of the schemes loses more of a
/// matrix than it loses of the same matrix at a magnitude of 1: fp16 numbers of the metadata end at 6e-8 and 65504, and
/// squares of weights at 1e-38 and 1e38. Matrices of usual magnitudes (largest weight from 2^-10 to 2^12) are known to
/// be held and cost nothing.
void check_magnitude(MatrixView matrix, std::span<const Scheme> schemes, const QuantizeOptions& options,
                     const std::string& operation);

}  // namespace mxq
