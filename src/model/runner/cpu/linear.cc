#include "model/runner/cpu/linear.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/parallel.h"
#include "kernels/matmul.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr int64_t kReadRows = 64;           // rows that one thread turns into floats at a time
constexpr int64_t kBlockWeights = 8 << 20;  // of a stored matrix that are in memory at a time

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

std::vector<float> read_tensor(const ModelSource& model, const std::string& name, const std::vector<int64_t>& shape) {
  const SourceTensor& tensor = require(model, name, shape);
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  model.read(tensor, values.data());
  return values;
}

Linear::Linear(const ModelSource& model, const std::string& name, int64_t out, int64_t in, bool biased, bool packed,
               std::shared_ptr<Operand> scratch)
    : model_(&model),
      weight_(&require(model, name + ".weight", {out, in})),
      out_(out),
      in_(in),
      scratch_(std::move(scratch)) {
  if (!packed) {
    Operand weights(scratch_->compute());
    read_rows(0, out, weights);
    model.done(*weight_);
    keep(std::move(weights));
  }
  if (biased) bias_ = read_tensor(model, name + ".bias", {out});
}

void Linear::keep(Operand&& weights) {
  if (weights.compute() == Compute::f32) {
    f32_ = std::move(weights).take_f32();
  } else {
    bf16_.emplace(out_, in_, weights.bf16());
  }
}

Linear Linear::with_weights(const float* weights) const {
  Linear other;
  other.out_ = out_;
  other.in_ = in_;
  other.bias_ = bias_;
  other.scratch_ = scratch_;
  Operand operand(scratch_->compute());
  operand.set(weights, out_, in_);
  other.keep(std::move(operand));
  return other;
}

Linear Linear::with_rows(std::vector<float> weights) const {
  Linear other = with_weights(weights.data());
  other.rows_ = std::move(weights);
  return other;
}

int64_t Linear::resident_bytes() const {
  return (bf16_ ? bf16_->bytes() : 0) + static_cast<int64_t>((f32_.size() + rows_.size()) * sizeof(float));
}

void Linear::read_rows(int64_t first, int64_t count, Operand& out) const {
  out.resize(count, in_);
  parallel_for((count + kReadRows - 1) / kReadRows, [&](int64_t job) {
    const int64_t begin = job * kReadRows, rows = std::min(kReadRows, count - begin);
    const auto values = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(rows * in_));
    model_->read_rows(*weight_, first + begin, rows, values.get());
    for (int64_t i = 0; i < rows; ++i) out.set_row(begin + i, values.get() + i * in_);
  });
}

// The blocks of rows of a packed matrix one after another.
void Linear::apply_packed(const Operand& x, float* y) const {
  const int64_t block = std::max(kReadRows, kBlockWeights / in_);
  for (int64_t first = 0; first < out_; first += block) {
    const int64_t rows = std::min(block, out_ - first);
    read_rows(first, rows, *scratch_);
    if (x.compute() == Compute::f32) {
      matmul_transposed(x.rows(), rows, in_, x.f32(), in_, scratch_->f32(), in_, y + first, out_);
    } else {
      matmul_transposed(x.rows(), rows, in_, x.bf16(), scratch_->bf16(), y + first, out_);
    }
  }
  model_->done(*weight_);
}

void Linear::apply(const Operand& x, float* y) const {
  if (bf16_) {
    bf16_->multiply(x.rows(), x.bf16(), y);
  } else if (!f32_.empty()) {
    matmul_transposed(x.rows(), out_, in_, x.f32(), in_, f32_.data(), in_, y, out_);
  } else {
    apply_packed(x, y);
  }
  if (bias_.empty()) return;
  parallel_for(x.rows(), [&](int64_t i) {
    for (int64_t j = 0; j < out_; ++j) y[i * out_ + j] += bias_[static_cast<size_t>(j)];
  });
}

const float* Linear::floats(std::vector<float>& room) const {
  if (!f32_.empty()) return f32_.data();
  room.resize(static_cast<size_t>(out_ * in_));
  model_->read(*weight_, room.data());
  model_->done(*weight_);
  return room.data();
}

void Linear::gather(const int32_t* ids, int64_t n, float* out) const {
  for (int64_t i = 0; i < n; ++i) {
    if (rows_.empty()) {
      model_->read_rows(*weight_, ids[i], 1, out + i * in_);
    } else {
      std::copy_n(rows_.data() + ids[i] * in_, in_, out + i * in_);
    }
  }
}

}  // namespace mxq
