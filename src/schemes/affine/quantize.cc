// Quantizing and measuring of the affine family.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <span>
#include <vector>

#include "base/bitpack.h"
#include "base/parallel.h"
#include "schemes/affine/affine.h"
#include "schemes/affine/fit_matrix.h"
#include "schemes/affine/metadata.h"
#include "schemes/affine/output.h"
#include "schemes/affine/symmetric.h"
#include "schemes/normalize/normalize.h"

namespace mxq::affine {

namespace {

/// Codes of a block as bytes. Axis 1: group after group, [groups][group], into `codes` of the block.
/// Axis 0: into the whole matrix's [group][groups].
void write_codes(const Block& block, const Grouping& grouping, int bits, const StoredBlock& stored, uint8_t* codes) {
  alignas(64) uint8_t tile_q[256 * kTileLanes];
  for (int t = 0; t < block.tile_count; ++t) {
    const Tile& tile = block.tiles[t];
    const int slot = t * kTileLanes;
    tile_codes(block.tile_data(t), tile.n, (1 << bits) - 1, stored.inverse_scale + slot, stored.zero + slot, tile_q);
    if (grouping.axis == 0) {
      uint8_t* first = codes + block.first_group + tile.group[0];
      for (int i = 0; i < tile.n; ++i) {
        std::memcpy(first + i * grouping.groups(), tile_q + i * kTileLanes, static_cast<size_t>(tile.lanes));
      }
      continue;
    }
    for (int l = 0; l < tile.lanes; ++l) {
      uint8_t* group = codes + int64_t{tile.group[l]} * grouping.group;
      for (int i = 0; i < tile.n; ++i) group[i] = tile_q[i * kTileLanes + l];
    }
  }
}

/// Sum of (w - W)^2 over a block of `original`, whose columns were divided by `scales` before the block was fitted:
/// what quantizing, dequantizing and subtracting gives, in the same fp32 steps.
double scaled_squared_error(const Block& block, const Grouping& grouping, int bits, const StoredBlock& stored,
                            MatrixView original, std::span<const float> scales) {
  alignas(64) uint8_t codes[256 * kTileLanes];
  double sum = 0;
  for (int t = 0; t < block.tile_count; ++t) {
    const Tile& tile = block.tiles[t];
    const int slot = t * kTileLanes;
    tile_codes(block.tile_data(t), tile.n, (1 << bits) - 1, stored.inverse_scale + slot, stored.zero + slot, codes);
    for (int l = 0; l < tile.lanes; ++l) {
      const int64_t first = grouping.first(block.first_group + tile.group[l]), stride = grouping.stride();
      int64_t col = first % grouping.cols;
      const int64_t col_stride = stride % grouping.cols;
      for (int i = 0; i < tile.n; ++i) {
        const float back = stored.value(slot + l, codes[i * kTileLanes + l]);
        const float error = original.data[first + i * stride] - back * scales[static_cast<size_t>(col)];
        sum += double{error} * double{error};
        col += col_stride;
        if (col >= grouping.cols) col -= grouping.cols;
      }
    }
  }
  return sum;
}

/// ||W - Q||_F where each column counts on its own: all widths of a group size are fitted at once.
void measure_columns(MatrixView matrix, const NormalizedMatrix& normalized, std::span<const Scheme> schemes,
                     const std::vector<size_t>& which_schemes, const QuantizeOptions& options,
                     std::vector<double>& norms) {
  const Grouping grouping(matrix.rows, matrix.cols, schemes[which_schemes.front()].group, options.axis);
  std::vector<int> widths;
  for (const size_t i : which_schemes) widths.push_back(schemes[i].bits);
  // Summed block by block, then over the blocks in order, so that threads make no difference.
  std::vector<double> sums(static_cast<size_t>(grouping.blocks()) * widths.size());
  const auto measure = [&](const Block& block, size_t which, const FittedBlock& fitted) {
    const int bits = widths[which];
    StoredBlock stored;
    store_block(block, bits, options, fitted, stored);
    sums[static_cast<size_t>(block.index) * widths.size() + which] =
        normalized.scales.empty() ? squared_error(block, bits, stored)
                                  : scaled_squared_error(block, grouping, bits, stored, matrix, normalized.scales);
  };
  fit_matrix(normalized.view, grouping, widths, options, measure);
  for (size_t which = 0; which < widths.size(); ++which) {
    double sum = 0;
    for (size_t i = which; i < sums.size(); i += widths.size()) sum += sums[i];
    norms[which_schemes[which]] = std::sqrt(sum);
  }
}

}  // namespace

void AffineFamily::quantize(MatrixView matrix, const QuantizeOptions& options, QuantizedMatrix& out) const {
  const Scheme& scheme = out.layout.scheme;
  Output parts(out);
  const Grouping grouping(matrix.rows, matrix.cols, scheme.group, options.axis);
  const int bits = scheme.bits;
  // Axis 1: a group's codes are its own whole bytes. Axis 0: they lie all over the stream, which is packed at the end.
  std::vector<uint8_t> all_codes;
  if (options.axis == 0) all_codes.resize(static_cast<size_t>(matrix.size()));
  fit_matrix(matrix, grouping, {&bits, 1}, options, [&](const Block& block, size_t, const FittedBlock& fitted) {
    StoredBlock stored;
    store_block(block, bits, options, fitted, stored);
    write_metadata(block, stored, parts);
    if (options.axis == 0) {
      write_codes(block, grouping, bits, stored, all_codes.data());
      return;
    }
    std::vector<uint8_t> codes(static_cast<size_t>(int64_t{block.groups} * scheme.group));
    write_codes(block, grouping, bits, stored, codes.data());
    for (int g = 0; g < block.groups; ++g) {
      // A group begins at a whole byte of its row: its size is a multiple of 8.
      const int64_t group = block.first_group + g, first = grouping.first(group);
      const int64_t row = first / matrix.cols, col = first % matrix.cols;
      pack_codes(codes.data() + int64_t{g} * scheme.group, grouping.length(group), bits,
                 parts.codes.data() + row * out.layout.code_row_bytes() + col * bits / 8);
    }
  });
  constexpr int64_t kChunk = 1 << 16;
  const auto loose = static_cast<int64_t>(all_codes.size());
  parallel_for((loose + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t begin = chunk * kChunk;
    pack_codes(all_codes.data() + begin, std::min(kChunk, loose - begin), bits,
               parts.codes.data() + packed_bytes(begin, bits));
  });
}

std::vector<double> AffineFamily::measure(MatrixView matrix, std::span<const Scheme> schemes,
                                          const QuantizeOptions& options, SharedNormalization& normalization) const {
  std::vector<double> norms(schemes.size(), 0.0);
  const NormalizedMatrix as_it_is{{}, {}, matrix};
  std::map<int, std::vector<size_t>> by_group, on_grid;  // group size -> indices of schemes
  for (size_t i = 0; i < schemes.size(); ++i) {
    if (lies_on_grid(matrix, schemes[i], options)) {
      on_grid[schemes[i].group].push_back(i);
    } else if (options.normalize == Normalize::rotation) {
      // The errors of a row's blocks mix where the rotation is undone.
      norms[i] = quantized_error_norm(matrix, normalization.of(schemes[i].group), schemes[i], options);
    } else {
      by_group[schemes[i].group].push_back(i);
    }
  }
  for (const auto& [group, which] : by_group) {
    measure_columns(matrix, normalization.of(group), schemes, which, options, norms);
  }
  for (const auto& [group, which] : on_grid) measure_columns(matrix, as_it_is, schemes, which, options, norms);
  return norms;
}

}  // namespace mxq::affine
