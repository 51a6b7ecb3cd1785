#include "schemes/affine/fit_matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "base/parallel.h"
#include "schemes/affine/integer_zeros.h"
#include "schemes/affine/symmetric.h"

namespace mxq::affine {

namespace {

/// hqq 0.2.8's limit on rounds, and how many are done between two looks at the whole matrix's error. The zeros of
/// the rounds in between are kept, so that the result is that of looking after every round.
constexpr int kHqqRounds = 20;
constexpr int kRoundsPerVisit = 4;

/// A matrix as blocks of tiles, all in memory.
struct TiledMatrix {
  std::vector<Block> blocks;
  AlignedFloats data;

  TiledMatrix(MatrixView matrix, const Grouping& grouping) : blocks(static_cast<size_t>(grouping.blocks())) {
    int64_t floats = 0;
    std::vector<int64_t> offsets(blocks.size());
    for (size_t b = 0; b < blocks.size(); ++b) {
      offsets[b] = floats;
      floats += plan_block(grouping, static_cast<int64_t>(b), blocks[b]);
    }
    data = allocate_floats(floats);
    parallel_for(grouping.blocks(), [&](int64_t b) {
      blocks[b].data = data.get() + offsets[b];
      load_block(matrix, grouping, blocks[b]);
    });
  }
};

/// hqq's rounds on every block until the mean |error| of the matrix stops falling.
class HqqRounds {
 public:
  HqqRounds(const TiledMatrix& tiled, int bits, int64_t weights)
      : tiled_(tiled),
        max_code_((1 << bits) - 1),
        weights_(static_cast<double>(weights)),
        visits_(tiled.blocks.size()) {}

  void run(std::vector<FittedBlock>& fitted) {
    const auto blocks = static_cast<int64_t>(fitted.size());
    float best = std::numeric_limits<float>::infinity();
    bool done = false;
    for (int round = 0; round < kHqqRounds && !done; round += kRoundsPerVisit) {
      parallel_for(blocks, [&](int64_t b) { visit(b, fitted[b]); });
      int kept = 0;  // the round whose zeros are the latest
      for (; kept < kRoundsPerVisit; ++kept) {
        double sum = 0;
        for (const Visit& v : visits_) sum += v.error[kept];
        const auto mean = static_cast<float>(sum / weights_);
        done = !(mean < best);
        if (done) break;
        best = mean;
      }
      kept = std::min(kept, kRoundsPerVisit - 1);
      parallel_for(blocks, [&](int64_t b) {
        for (int slot = 0; slot < tiled_.blocks[b].tile_count * kTileLanes; ++slot) {
          const int tile = slot / kTileLanes, lane = slot % kTileLanes;
          const float zero = visits_[b].zeros[(tile * kRoundsPerVisit + kept) * kTileLanes + lane];
          // Sums of weights near the largest float overflow; such groups stay as they are.
          if (std::isfinite(zero)) fitted[b].zero[slot] = zero;
        }
      });
    }
  }

 private:
  /// Zeros after each round of a visit, [tile][round][lane], and the block's sum of |error| before them.
  struct Visit {
    float zeros[kMaxSlots * kRoundsPerVisit];
    double error[kRoundsPerVisit];
  };

  void visit(int64_t b, const FittedBlock& fitted) {
    const Block& block = tiled_.blocks[b];
    Visit& out = visits_[b];
    std::fill(std::begin(out.error), std::end(out.error), 0.0);
    float errors[kRoundsPerVisit * kTileLanes];
    for (int t = 0; t < block.tile_count; ++t) {
      const Tile& tile = block.tiles[t];
      tile_hqq_rounds(block.tile_data(t), tile.n, max_code_, fitted.inverse_scale + t * kTileLanes,
                      fitted.zero + t * kTileLanes, kRoundsPerVisit, out.zeros + t * kRoundsPerVisit * kTileLanes,
                      errors);
      for (int round = 0; round < kRoundsPerVisit; ++round) {
        for (int l = 0; l < tile.lanes; ++l) out.error[round] += errors[round * kTileLanes + l];
      }
    }
  }

  const TiledMatrix& tiled_;
  int max_code_;
  double weights_;
  std::vector<Visit> visits_;
};

void fit_matrix_hqq(MatrixView matrix, const Grouping& grouping, std::span<const int> widths,
                    const BlockConsumer& consume) {
  const TiledMatrix tiled(matrix, grouping);
  std::vector<FittedBlock> fitted(tiled.blocks.size());
  const auto blocks = static_cast<int64_t>(fitted.size());
  for (size_t which = 0; which < widths.size(); ++which) {
    parallel_for(blocks, [&](int64_t b) { fit_rtn(tiled.blocks[b], widths[which], fitted[b]); });
    HqqRounds(tiled, widths[which], matrix.size()).run(fitted);
    parallel_for(blocks, [&](int64_t b) {
      centers_from_zeros(tiled.blocks[b], widths[which], fitted[b]);
      consume(tiled.blocks[b], which, fitted[b]);
    });
  }
}

}  // namespace

void fit_matrix(MatrixView matrix, const Grouping& grouping, std::span<const int> widths,
                const QuantizeOptions& options, const BlockConsumer& consume) {
  if (grouping.groups() == 0 || widths.empty()) return;
  if (options.fit == Fit::hqq) return fit_matrix_hqq(matrix, grouping, widths, consume);
  // A few blocks a task, each task with its own tile buffer.
  constexpr int64_t kBlocksPerTask = 4;
  parallel_for((grouping.blocks() + kBlocksPerTask - 1) / kBlocksPerTask, [&](int64_t task) {
    const AlignedFloats data = allocate_floats(block_floats(grouping));
    const auto fitted = std::make_unique<FittedBlock>();
    const auto block = std::make_unique<Block>();
    block->data = data.get();
    const int64_t end = std::min((task + 1) * kBlocksPerTask, grouping.blocks());
    for (int64_t b = task * kBlocksPerTask; b < end; ++b) {
      plan_block(grouping, b, *block);
      load_block(matrix, grouping, *block);
      for (size_t which = 0; which < widths.size(); ++which) {
        if (options.fit == Fit::rtn) {
          fit_rtn(*block, widths[which], *fitted);
        } else if (fits_symmetric(options)) {
          fit_symmetric(*block, widths[which], *fitted);
        } else if (fits_integer(options)) {
          fit_integer(*block, widths[which], zero_step(widths[which], options.metadata), *fitted);
        } else {
          fit_mse(*block, widths[which], options.metadata, *fitted);
        }
        consume(*block, which, *fitted);
      }
    }
  });
}

}  // namespace mxq::affine
