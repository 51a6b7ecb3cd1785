// Error feedback one column after another: each is coded, and what it loses goes to the columns after it.
#pragma once

#include "mxq/quantized_matrix.h"
#include "schemes/feedback/factor.h"
#include "schemes/feedback/group_coding.h"

namespace mxq::feedback {

/// Fills the part `codes` of `out`, rows of layout.code_row_bytes(); `coding`, which has been made for the matrix,
/// settles and writes what is kept of groups. Axis 1. Deterministic whatever the thread count.
void code_by_columns(MatrixView matrix, const FeedbackFactor& factor, const GroupCoding& coding, QuantizedMatrix& out);

}  // namespace mxq::feedback
