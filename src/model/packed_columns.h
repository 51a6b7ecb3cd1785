// Matrices as GPTQ's and AWQ's files have them: K x N, codes in words of 32 bits, with a scale and a zero for each
// group of a column, W = (code - zero) * scale. They are put into the affine family's order a few rows (of W: N x K) at
// a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "mxq/quantized_matrix.h"
#include "mxq/tensor.h"

namespace mxq {

struct PackedColumns {
  int64_t rows = 0, cols = 0, bits = 4;  // of W: N, K
  int64_t group = 0;                     // columns of W; the last one may have fewer
  std::span<const std::byte> codes;      // words
  /// AWQ: a word has eight neighbours of a row, [K, N / 8], in the order 0 2 4 6 1 3 5 7. Else a column's codes are a
  /// stream of bits down the words, [K bits / 32, N].
  bool words_along_rows = false;
  std::span<const std::byte> zeros;  // words, [groups, N bits / 32]: streams along N; of AWQ in its order
  bool zeros_less_one = false;       // GPTQ, version 1
  bool zeros_carry = false;          // and added to words as a whole
  bool symmetric = false;            // all zeros are 2^(bits - 1)
  TensorView scales;                 // [groups, N]
  /// The group of each column where columns are not in order; empty where they are.
  std::vector<int32_t> group_of;

  int64_t groups() const { return (cols + group - 1) / group; }
};

/// The layout in which such a matrix is made; the affine family has groups of powers of two up to 256, so larger ones,
/// and others, are several with one scale. Arithmetic is that of the file.
QuantizedLayout packed_columns_layout(const PackedColumns& matrix);

/// Rows [first, first + count) of W, with columns of one group beside each other. Throws Error(unsupported), headed by
/// `operation`, naming the matrix's zero that readers would not agree on: one that is not in the middle though the
/// file says that all are, or one beyond the codes.
QuantizedMatrix read_packed_columns(const PackedColumns& matrix, int64_t first, int64_t count, const std::string& name,
                                    const std::string& operation);

/// The column of W that stands at each place of what read_packed_columns() makes; empty where all stand in place.
std::vector<int64_t> columns_in_order(const PackedColumns& matrix);

}  // namespace mxq
