// Zeros of groups with a bias whose zero is one of the codes: what integers have beside them in many formats.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "export/model_folder.h"
#include "mxq/quantized_matrix.h"

namespace mxq {

/// Of each group, in the matrix's order; its metadata has a bias. Throws Error(unsupported), under `operation`, naming
/// a group whose bias is not that of a code. `symmetric`: not that of the code 2^(bits - 1).
std::vector<uint8_t> zero_codes(const std::string& name, const QuantizedMatrix& matrix, bool symmetric,
                                const std::string& operation);

/// Codes and scales of a matrix, as their part of `specs` says, where all zeros have to be the code 2^(bits - 1) and no
/// file holds them. Writing throws as zero_codes(), and Error(not_finite) for scales that are no numbers.
OutputTensors symmetric_output(const std::string& name, const QuantizedLayout& layout, std::vector<TensorSpec> specs,
                               std::function<QuantizedMatrix()> make, const std::string& operation);

}  // namespace mxq
