// A weight matrix of a model, wherever its values lie.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/model_source.h"
#include "model/runner/cpu/operand.h"

namespace mxq {

/// y = x W^T + bias.
class Linear {
 public:
  Linear() = default;
  /// The matrix NAME.weight of the model, [out, in], and NAME.bias where `biased`. `scratch`
  /// is shared by all matrices of a runner and says what products take. A packed matrix (RunOptions) is read by
  /// apply() only. Throws Error(invalid_file) where a tensor is missing or has another shape.
  Linear(const ModelSource& model, const std::string& name, int64_t out, int64_t in, bool biased, bool packed,
         std::shared_ptr<Operand> scratch);

  /// The same matrix with other weights, [out, in], which stay in memory; bias and the rest as they are.
  /// They are for apply() only.
  Linear with_weights(const float* weights) const;
  /// For gather() also: as floats besides.
  Linear with_rows(std::vector<float> weights) const;

  /// y [x.rows(), out].
  void apply(const Operand& x, float* y) const;
  /// Rows of the matrix itself, as an embedding's: row ids[i] goes to out + i * in.
  void gather(const int32_t* ids, int64_t n, float* out) const;

  /// The weights themselves, [out, in]: where they lie, or, where they are not held as floats, read into `room`. Of a
  /// matrix of the model, not of one with other weights.
  const float* floats(std::vector<float>& room) const;

  int64_t out_features() const { return out_; }
  int64_t in_features() const { return in_; }
  /// Bytes of weights held in memory.
  int64_t resident_bytes() const;

 private:
  void keep(Operand&& weights);
  void read_rows(int64_t first, int64_t count, Operand& out) const;
  void apply_packed(const Operand& x, float* y) const;

  const ModelSource* model_ = nullptr;
  const SourceTensor* weight_ = nullptr;
  int64_t out_ = 0, in_ = 0;
  std::vector<float> f32_;  // these two empty where packed
  std::optional<Bf16Weights> bf16_;
  std::vector<float> bias_;
  std::vector<float> rows_;  // of with_rows()
  std::shared_ptr<Operand> scratch_;
};

/// The tensor NAME as floats. Throws as above.
std::vector<float> read_tensor(const ModelSource& model, const std::string& name, const std::vector<int64_t>& shape);

}  // namespace mxq
