#include "model/decoder/linear.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/matmul.h"
#include "mxq/error.h"

namespace mxq {

namespace {

const SourceTensor& require(const ModelSource& model, const std::string& name, const std::vector<int64_t>& shape) {
  const SourceTensor* tensor = model.find(name);
  if (tensor == nullptr) {
    throw Error(ErrorCode::invalid_file, "load " + model.path().string(), fmt::format("tensor '{}' is missing", name));
  }
  if (tensor->shape != shape) {
    throw Error(ErrorCode::invalid_file, "load " + model.path().string(),
                fmt::format("tensor '{}' has shape [{}]", name, fmt::join(tensor->shape, ", ")),
                fmt::format("[{}] by the config", fmt::join(shape, ", ")));
  }
  return *tensor;
}

}  // namespace

std::vector<float> read_vector(const ModelSource& model, const std::string& name, int64_t length) {
  std::vector<float> values(static_cast<size_t>(length));
  model.read(require(model, name, {length}), values.data());
  return values;
}

Linear::Linear(const ModelSource& model, const std::string& name, int64_t out, int64_t in, Residence residence,
               std::shared_ptr<std::vector<float>> scratch)
    : model_(&model),
      weight_(&require(model, name + ".weight", {out, in})),
      out_(out),
      in_(in),
      scratch_(std::move(scratch)) {
  const auto size = static_cast<size_t>(out * in);
  if (residence == Residence::floats) {
    floats_.resize(size);
    model.read(*weight_, floats_.data());
    model.done(*weight_);
  } else if (scratch_->size() < size) {
    scratch_->resize(size);
  }
  if (model.find(name + ".bias") != nullptr) bias_ = read_vector(model, name + ".bias", out);
}

void Linear::apply(const float* x, int64_t n, float* y) const {
  const float* weights = floats_.data();
  if (floats_.empty()) {
    model_->read(*weight_, scratch_->data());
    model_->done(*weight_);
    weights = scratch_->data();
  }
  matmul_transposed(n, out_, in_, 1, x, in_, weights, in_, y, out_);
  if (bias_.empty()) return;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < out_; ++j) y[i * out_ + j] += bias_[static_cast<size_t>(j)];
  }
}

void Linear::gather(const int32_t* ids, int64_t n, float* out) const {
  for (int64_t i = 0; i < n; ++i) {
    if (floats_.empty()) {
      model_->read_rows(*weight_, ids[i], 1, out + i * in_);
    } else {
      std::copy_n(floats_.data() + ids[i] * in_, in_, out + i * in_);
    }
  }
}

}  // namespace mxq
