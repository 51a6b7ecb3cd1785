// Quantized blocks and groups to where they belong in a QuantizedMatrix.
#pragma once

#include "mxq/quantized_matrix.h"
#include "schemes/affine/metadata.h"

namespace mxq::affine {

/// All parts at their sizes, zeroed.
QuantizedMatrix zeroed_matrix(const QuantizedLayout& layout);

/// The steps of q8 block `block_index`; nothing with other metadata.
void write_steps(int64_t block_index, const StoredBlock& stored, QuantizedMatrix& out);

/// Scale and zero of one group, entry `slot` of `stored`.
void write_group(int64_t group, const StoredBlock& stored, int slot, QuantizedMatrix& out);

/// Steps, scales and zeros of a block.
void write_metadata(const Block& block, const StoredBlock& stored, QuantizedMatrix& out);

}  // namespace mxq::affine
