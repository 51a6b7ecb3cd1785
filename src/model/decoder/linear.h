// A weight matrix of a decoder, wherever its values lie.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/model_source.h"

namespace mxq {

/// Where a decoder's matrices are while it runs.
enum class Residence {
  floats,  // all of them as fp32 in memory: fastest
  stored,  // in the mapped file as it stores them (packed codes, bf16, ...), one at a time turned into floats
};

/// y = x W^T + bias.
class Linear {
 public:
  Linear() = default;
  /// The matrix NAME.weight of the model, [out, in], and NAME.bias where there is one. `scratch` is shared by all
  /// matrices of a decoder. Throws Error(invalid_file) where the matrix is missing or has another shape.
  Linear(const ModelSource& model, const std::string& name, int64_t out, int64_t in, Residence residence,
         std::shared_ptr<std::vector<float>> scratch);

  /// x [n, in], y [n, out].
  void apply(const float* x, int64_t n, float* y) const;
  /// Rows of the matrix itself, as an embedding's: row ids[i] goes to out + i * in.
  void gather(const int32_t* ids, int64_t n, float* out) const;

  int64_t out_features() const { return out_; }

 private:
  const ModelSource* model_ = nullptr;
  const SourceTensor* weight_ = nullptr;
  int64_t out_ = 0, in_ = 0;
  std::vector<float> floats_;  // empty where the residence is stored
  std::vector<float> bias_;
  std::shared_ptr<std::vector<float>> scratch_;
};

/// The vector NAME as floats. Throws as above.
std::vector<float> read_vector(const ModelSource& model, const std::string& name, int64_t length);

}  // namespace mxq
