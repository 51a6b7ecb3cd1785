// A model's tensors as a GGUF file has them: the other side of what model/gguf_source.h reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/gguf_placement.h"
#include "model/model_source.h"
#include "mxq/tensor.h"

namespace mxq {

/// A tensor of the file. Its rows are those of its parts as the model has them: of a vector each number is a row.
struct GgufTensor {
  std::string name;                            // "blk.0.attn_q.weight"
  std::vector<int64_t> shape;                  // row-major, as GgufTensorSpec
  std::vector<const SourceTensor*> parts;      // the rows of one, then those of the next: all experts; empty: a table
  std::vector<int64_t> rows = {};              // row r is the rows[r]-th of the parts'; empty: r
  std::vector<int64_t> columns = {};           // of every row, likewise
  GgufOrder::Values values = GgufOrder::same;  // what is made of the parts' numbers
  std::vector<float> table = {};               // all numbers, where there are no parts; kept in F32
  /// Where the model comes from a GGUF that has this very tensor: its bytes may be copied as they are.
  std::optional<TensorView> stored = std::nullopt;

  int64_t row_count() const;
  int64_t row_size() const;
  /// The part, and its row there, that row `row` is of. Not of a table.
  std::pair<const SourceTensor*, int64_t> place(int64_t row) const;
  /// Whether llama.cpp multiplies by it: the only tensors that may be quantized. One with rows of its own (row_size()
  /// is the shape's last extent).
  bool is_matrix() const;
};

/// The tensors of the GGUF, in the order in which they are written: the embedding, rope tables, the layers, the output.
/// The model must outlive them. `notes`: tensors of the model that the file leaves out, a sentence each. Throws
/// Error(unsupported), headed by "write GGUF", naming an architecture that GGUF does not have and tensors that have no
/// name there; Error(invalid_file) naming a tensor that is missing or has another shape than the configuration's.
std::vector<GgufTensor> gguf_tensors(const ModelSource& model, std::vector<std::string>& notes);

/// Layers behind the others, which foretell more than one token, that the file will have.
int64_t gguf_mtp_layers(const ModelSource& model);

/// Rows [first, first + count) of the file's tensor as floats, row_size() each: ordered, and with what is made of the
/// numbers. Throws as ModelSource::read_rows, and Error(usage) for a range outside the tensor.
void read_gguf_rows(const ModelSource& model, const GgufTensor& tensor, int64_t first, int64_t count, float* out);

}  // namespace mxq
