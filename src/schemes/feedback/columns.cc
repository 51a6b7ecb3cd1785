#include "schemes/feedback/columns.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/bitpack.h"
#include "kernels/feedback_tile.h"
#include "kernels/matmul.h"

namespace mxq::feedback {

namespace {

using namespace groups;

/// Columns between two products with all errors so far, and rows that a task does from end to end.
constexpr int64_t kBlockColumns = 128;
constexpr int64_t kLeastRows = 32, kMostRows = 96;

/// Codes some rows, from the first column to the last. The errors of all columns so far are kept column by column,
/// [cols, lanes], so that one product per block of columns gives what they add to it.
class RowCoder {
 public:
  RowCoder(MatrixView matrix, const FeedbackFactor& factor, const GroupCoding& coding, int64_t begin, int64_t end,
           QuantizedMatrix& out)
      : matrix_(matrix),
        factor_(factor),
        begin_(begin),
        end_(end),
        lanes_((end - begin + kTileLanes - 1) / kTileLanes * kTileLanes),
        bits_(out.layout.scheme.bits),
        group_(out.layout.scheme.group),
        per_row_((matrix.cols + group_ - 1) / group_),
        block_(std::max<int64_t>(kBlockColumns, group_)),
        errors_(allocate_floats(matrix.cols * lanes_)),
        feedback_(allocate_floats(block_ * lanes_)),
        weights_(allocate_floats(block_ * kTileLanes)),
        tile_(allocate_floats(block_ * kTileLanes)),
        updated_(allocate_floats(group_ * kTileLanes)),
        tile_errors_(allocate_floats(block_ * kTileLanes)),
        tile_codes_(static_cast<size_t>(group_ * kTileLanes)),
        codes_(static_cast<size_t>((end - begin) * matrix.cols)),
        groups_(coding.coder()),
        grids_(factor.sweeps() == 0 ? 0 : static_cast<size_t>(parts() * (lanes_ / kTileLanes))),
        layout_(out.layout),
        out_(out.part("codes")) {}  // none of families whose coders write codes themselves

  void run() {
    const int64_t cols = matrix_.cols;
    for (int64_t first = 0; first < cols; first += block_) {
      const int64_t n = std::min(block_, cols - first);
      if (first > 0) {
        matmul(n, lanes_, first, factor_.coefficients() + first * cols, cols, errors_.get(), lanes_, feedback_.get(),
               lanes_);
      } else {
        std::fill_n(feedback_.get(), n * lanes_, 0.0f);
      }
      for (int64_t lane = 0; lane < lanes_; lane += kTileLanes) code_tile(first, n, lane);
    }
    for (int sweep = 0; sweep < factor_.sweeps(); ++sweep) {
      for (int64_t first = 0; first < cols; first += block_) descend(first, std::min(block_, cols - first));
    }
    write();
  }

 private:
  int64_t parts() const { return (matrix_.cols + groups_->grid_columns() - 1) / groups_->grid_columns(); }

  /// n columns, from the first-th on, of the 16 rows from `lane` on.
  void code_tile(int64_t first, int64_t n, int64_t lane) {
    load(first, n, lane);
    for (int64_t i = 0; i < n; ++i) {
      for (int l = 0; l < kTileLanes; ++l) {
        tile_[i * kTileLanes + l] = weights_[i * kTileLanes + l] + feedback_[i * lanes_ + lane + l];
      }
    }
    const int64_t cols = matrix_.cols, piece = group_;
    uint8_t* codes = tile_codes_.data();
    for (int64_t at = 0; at < n; at += piece) {
      const int64_t size = std::min(piece, n - at), column = first + at;
      float* tile = tile_.get() + at * kTileLanes;
      const float* weights = weights_.get() + at * kTileLanes;
      float* errors = tile_errors_.get() + at * kTileLanes;
      const float* coefficients = factor_.coefficients() + column * cols + column;
      std::memcpy(updated_.get(), tile, static_cast<size_t>(size * kTileLanes) * sizeof(float));
      tile_update(updated_.get(), weights, static_cast<int>(size), coefficients, cols, errors);
      settle(column, static_cast<int>(size), updated_.get(), lane);
      groups_->code(tile, weights, static_cast<int>(size), coefficients, cols, codes, errors);
      const int64_t rest = n - at - size;
      tile_add_feedback(errors, static_cast<int>(size), coefficients + size * cols, cols, static_cast<int>(rest),
                        tile + size * kTileLanes);
      keep(column, size, lane, errors, codes);
      for (int64_t i = 0; i < size && !grids_.empty(); i += groups_->grid_columns()) {
        groups_->grid(static_cast<int>(i / groups_->grid_columns()), grid_of(column + i, lane));
      }
    }
  }

  /// Codes n columns, from the first-th on, of all rows anew, given all others.
  void descend(int64_t first, int64_t n) {
    const int64_t cols = matrix_.cols, part = groups_->grid_columns();
    if (!moments_) {
      moments_ = allocate_floats(block_ * cols);
      inverse_diagonal_.resize(static_cast<size_t>(block_));
    }
    factor_.moments(first, n, moments_.get());
    for (int64_t i = 0; i < n; ++i) inverse_diagonal_[i] = 1 / moments_[i * cols + first + i];
    matmul(n, lanes_, cols, moments_.get(), cols, errors_.get(), lanes_, feedback_.get(), lanes_);
    for (int64_t lane = 0; lane < lanes_; lane += kTileLanes) {
      load(first, n, lane);
      for (int64_t i = 0; i < n; ++i) {
        const float* const error = errors_.get() + (first + i) * lanes_ + lane;
        for (int l = 0; l < kTileLanes; ++l) {
          tile_[i * kTileLanes + l] = feedback_[i * lanes_ + lane + l];
          weights_[i * kTileLanes + l] -= error[l];  // what the codes stand for
        }
      }
      for (int64_t at = 0; at < n; at += part) {
        const int64_t size = std::min(part, n - at);
        float* const changes = tile_errors_.get() + at * kTileLanes;
        const float* const moments = moments_.get() + at * cols + first + at;
        groups_->descend(tile_.get() + at * kTileLanes, weights_.get() + at * kTileLanes, static_cast<int>(size),
                         moments, inverse_diagonal_.data() + at, cols, grid_of(first + at, lane), tile_codes_.data(),
                         changes);
        tile_add_feedback(changes, static_cast<int>(size), moments + size * cols, cols, static_cast<int>(n - at - size),
                          tile_.get() + (at + size) * kTileLanes);
        for (int64_t i = 0; i < size; ++i) {
          float* const error = errors_.get() + (first + at + i) * lanes_ + lane;
          for (int l = 0; l < kTileLanes; ++l) error[l] += changes[i * kTileLanes + l];
        }
        keep_codes(first + at, size, lane, tile_codes_.data());
      }
    }
  }

  void write() {
    const int64_t cols = matrix_.cols;
    for (int64_t r = begin_; r < end_ && !out_.empty(); ++r) {
      pack_codes(codes_.data() + (r - begin_) * cols, cols, bits_, out_.data() + r * layout_.code_row_bytes());
    }
    for (int64_t first = 0; first < cols && out_.empty(); first += block_) {
      const int64_t end = std::min(cols, first + block_);
      for (int64_t lane = 0; lane < lanes_; lane += kTileLanes) {
        for (int64_t column = first; column < end; column += group_) {
          const int64_t size = std::min(group_, end - column);
          for (int64_t i = 0; i < size; ++i) {
            for (int l = 0; l < kTileLanes; ++l) {
              tile_codes_[i * kTileLanes + l] = codes_[(row(lane + l) - begin_) * cols + factor_.order()[column + i]];
            }
          }
          groups_->write(tile_codes_.data(), static_cast<int>(size));
        }
      }
    }
  }

  GroupGrid& grid_of(int64_t column, int64_t lane) {
    return grids_[static_cast<size_t>(column / groups_->grid_columns() * (lanes_ / kTileLanes) + lane / kTileLanes)];
  }

  int64_t row(int64_t lane) const { return std::min(begin_ + lane, end_ - 1); }

  /// The weights themselves.
  void load(int64_t first, int64_t n, int64_t lane) {
    if (factor_.ordered_groups() != 0) {
      for (int l = 0; l < kTileLanes; ++l) {
        const float* from = matrix_.data + row(lane + l) * matrix_.cols;
        for (int64_t i = 0; i < n; ++i) weights_[i * kTileLanes + l] = from[factor_.order()[first + i]];
      }
    } else {
      const float* rows[kTileLanes];
      for (int l = 0; l < kTileLanes; ++l) rows[l] = matrix_.data + row(lane + l) * matrix_.cols + first;
      tile_load_groups(rows, static_cast<int>(n), weights_.get());
    }
  }

  /// The groups of n weights, from the weights as updated.
  void settle(int64_t column, int n, const float* updated, int64_t lane) {
    int64_t groups[kTileLanes];
    for (int l = 0; l < kTileLanes; ++l) groups[l] = row(lane + l) * per_row_ + factor_.order()[column] / group_;
    const auto lanes = static_cast<int>(std::min<int64_t>(kTileLanes, end_ - begin_ - lane));
    groups_->settle(updated, factor_.pivots().data() + column, n, groups, lanes);
  }

  void keep(int64_t column, int64_t n, int64_t lane, const float* errors, const uint8_t* codes) {
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(errors_.get() + (column + i) * lanes_ + lane, errors + i * kTileLanes, kTileLanes * sizeof(float));
    }
    keep_codes(column, n, lane, codes);
  }

  void keep_codes(int64_t column, int64_t n, int64_t lane, const uint8_t* codes) {
    for (int l = 0; l < kTileLanes && begin_ + lane + l < end_; ++l) {
      uint8_t* to = codes_.data() + (lane + l) * matrix_.cols;
      for (int64_t i = 0; i < n; ++i) to[factor_.order()[column + i]] = codes[i * kTileLanes + l];
    }
  }

  MatrixView matrix_;
  const FeedbackFactor& factor_;
  int64_t begin_, end_, lanes_;
  int bits_;
  int64_t group_, per_row_, block_;
  AlignedFloats errors_, feedback_, weights_, tile_, updated_, tile_errors_;
  std::vector<uint8_t> tile_codes_, codes_;
  std::unique_ptr<GroupCoder> groups_;
  // Of sweeps alone: where values lie, [columns / grid_columns()][lanes / kTileLanes]; rows of H, and 1 / H_jj.
  std::vector<GroupGrid> grids_;
  AlignedFloats moments_;
  std::vector<float> inverse_diagonal_;
  const QuantizedLayout& layout_;
  std::span<std::byte> out_;
};

}  // namespace

void code_by_columns(MatrixView matrix, const FeedbackFactor& factor, const GroupCoding& coding, QuantizedMatrix& out) {
  // By rows alone, so that the number of threads changes no product.
  const int64_t sixteenth = (matrix.rows / 16 + kTileLanes - 1) / kTileLanes * kTileLanes;
  for_row_chunks(matrix.rows, std::clamp(sixteenth, kLeastRows, kMostRows), [&](int64_t begin, int64_t end) {
    if (begin < end) RowCoder(matrix, factor, coding, begin, end, out).run();
  });
}

}  // namespace mxq::feedback
