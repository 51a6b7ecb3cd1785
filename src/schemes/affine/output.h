// Quantized blocks and groups to where they belong in a quantized matrix.
#pragma once

#include "mxq/quantized_matrix.h"
#include "schemes/affine/metadata.h"

namespace mxq::affine {

/// The parts of an affine matrix, to be written. Valid as long as the matrix.
struct Output {
  explicit Output(QuantizedMatrix& matrix)
      : metadata(matrix.layout.metadata),
        codes(matrix.part("codes")),
        scales(matrix.part("scales")),
        zeros(matrix.part("zeros")),
        biases(matrix.part("biases")),
        scale_steps(matrix.part("scale_steps")),
        zero_steps(matrix.part("zero_steps")) {}

  Metadata metadata;
  std::span<std::byte> codes, scales, zeros, biases, scale_steps, zero_steps;
};

/// The steps of q8 block `block_index`; nothing with other metadata.
void write_steps(int64_t block_index, const StoredBlock& stored, Output& out);

/// Scale and zero (or bias) of one group, entry `slot` of `stored`.
void write_group(int64_t group, const StoredBlock& stored, int slot, Output& out);

/// Steps, scales and zeros (or biases) of a block.
void write_metadata(const Block& block, const StoredBlock& stored, Output& out);

}  // namespace mxq::affine
