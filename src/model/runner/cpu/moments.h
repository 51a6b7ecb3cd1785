// Second moments of rows of activations.
#pragma once

#include "model/runner/cpu/operand.h"
#include "model/runner/runner.h"

namespace mxq {

/// Of all rows of the operand. The products run on one thread each, so that their bits do not depend on how many there
/// are.
SecondMoments second_moments(const Operand& rows);

}  // namespace mxq
