// Where a GGUF holds the numbers of a tensor, and in which order: what llama.cpp's converter does to some, undone.
// Source: modify_tensors() of the classes in llama.cpp's convert_hf_to_gguf.py and conversion/qwen.py.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "mxq/tensor.h"

namespace mxq {

struct GgufPlacement {
  enum Values {
    same,
    plus_one,   // the file has 1 + w, of norms that multiply by it
    minus_exp,  // the file has -exp(w)
  };
  std::vector<TensorView> views;      // the rows of one, then those of the next
  std::vector<int64_t> rows = {};     // row r is the rows[r]-th of those; empty: r
  std::vector<int64_t> columns = {};  // of every row, likewise
  Values values = same;

  /// Whether the one view's bytes are the tensor's.
  bool is_plain() const { return views.size() == 1 && rows.empty() && columns.empty() && values == same; }
  int64_t bytes() const;
  /// Rows [first, first + count) of `width` numbers, in the tensor's order.
  void read(int64_t first, int64_t count, int64_t width, float* out) const;
};

/// Of a tensor of a layer (`tensor`; null: of the model), whose rows `views` hold; `shape` is the tensor's. Throws
/// Error(invalid_file) naming the tensor where the configuration has another number of rows or columns to put in order.
GgufPlacement gguf_placement(const ModelConfig& config, const LayerTensor* tensor, const std::vector<int64_t>& shape,
                             std::vector<TensorView> views, const std::string& source);

}  // namespace mxq
