// Second moments of rows of activations.
#pragma once

#include <span>

#include "model/runner/cpu/operand.h"
#include "model/runner/runner.h"

namespace mxq {

/// Of all rows of the operand, which count as `weights` says: one a row, or none for 1 each. The products run on one
/// thread each, so that their bits do not depend on how many there are.
SecondMoments second_moments(const Operand& rows, std::span<const float> weights = {});

/// SecondMoments::cross of rows and as many of `other`, of the same width and compute. Likewise.
std::vector<float> cross_moments(const Operand& rows, const Operand& other, std::span<const float> weights = {});

}  // namespace mxq
