// Zeros of groups with a bias whose zero is one of the codes: what integers have beside them in many formats.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mxq/quantized_matrix.h"

namespace mxq {

/// Of each group, in the matrix's order; its metadata has a bias. Throws Error(unsupported), under `operation`, naming
/// a group whose bias is not that of a code. `symmetric`: not that of the code 2^(bits - 1).
std::vector<uint8_t> zero_codes(const std::string& name, const QuantizedMatrix& matrix, bool symmetric,
                                const std::string& operation);

}  // namespace mxq
