// Where a GGUF holds the numbers of a tensor, and in which order: what llama.cpp's converter does to some, and how that
// is undone.
// Source: modify_tensors() of the classes in llama.cpp's convert_hf_to_gguf.py and conversion/qwen.py.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "mxq/tensor.h"

namespace mxq {

/// How a GGUF holds what Hugging Face has in a tensor.
struct GgufOrder {
  enum Values {
    same,
    plus_one,   // the file has 1 + w, of norms that multiply by it
    minus_exp,  // the file has -exp(w)
  };
  std::vector<int64_t> rows = {};     // row r is the rows[r]-th of the file's; empty: r
  std::vector<int64_t> columns = {};  // of every row, likewise
  Values values = same;
};

/// Of a tensor of a layer (`tensor`; null: of the model) that the file calls `gguf_name`. `in_one`: also of one that
/// GGUF usually has in two, the rows of which are counted through.
GgufOrder gguf_order(const ModelConfig& config, const LayerTensor* tensor, std::string_view gguf_name, bool in_one);

/// Where the rows of heads of `head` rows lie, an even number, whose rotary pairs are neighbours; Hugging Face pairs
/// the two halves of a head.
std::vector<int64_t> paired_rows(int64_t rows, int64_t head);

/// The other way round: entry i of the result is where `order` has i. Empty for an empty one.
std::vector<int64_t> inverse_order(const std::vector<int64_t>& order);

/// Numbers of the file made the model's, and the model's made the file's, in fp32.
void from_gguf_values(GgufOrder::Values values, std::span<float> numbers);
void to_gguf_values(GgufOrder::Values values, std::span<float> numbers);

/// Shapes of one row, and of the filters of channels, have fewer dimensions in GGUF; the shape here and there.
std::vector<int64_t> shape_from_gguf(const LayerTensor* tensor, std::vector<int64_t> shape);
std::vector<int64_t> shape_in_gguf(const LayerTensor* tensor, std::vector<int64_t> shape);

struct GgufPlacement : GgufOrder {
  std::vector<TensorView> views;  // the rows of one, then those of the next

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
