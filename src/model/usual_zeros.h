// Zeros that a format does not store because they are the same for all groups: 2^(bits - 1).
#pragma once

#include "model/checkpoint_source.h"

namespace mxq {

/// Gives the matrices of the folder whose part "zeros" is empty such zeros, kept in folder.made: of each width and
/// dtype as many as the largest matrix has groups.
void add_usual_zeros(QuantizedFolder& folder);

}  // namespace mxq
