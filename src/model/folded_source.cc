#include "model/folded_source.h"

#include <fmt/format.h>

#include "mxq/error.h"

namespace mxq {

FoldedSource::FoldedSource(const ModelSource& base, std::map<std::string, Fold> folds)
    : ModelSource(base.path(), base.config()), base_(base), folds_(std::move(folds)) {
  for (const auto& [name, fold] : folds_) {
    const SourceTensor* tensor = base.find(name);
    if (tensor == nullptr) throw Error(ErrorCode::usage, "fold factors", fmt::format("no tensor '{}'", name));
    const auto fits = [](const std::vector<float>& factors, int64_t size) {
      return factors.empty() || static_cast<int64_t>(factors.size()) == size;
    };
    if (!fits(fold.rows, tensor->rows()) || !fits(fold.cols, tensor->cols())) {
      throw Error(ErrorCode::usage, "fold factors",
                  fmt::format("{} x {} factors for '{}'", fold.rows.size(), fold.cols.size(), name),
                  fmt::format("{} x {}", tensor->rows(), tensor->cols()));
    }
  }
  std::vector<std::string> names;
  for (const SourceTensor& tensor : base.tensors()) names.push_back(tensor.stored_name);
  translate(names);
  for (const SourceTensor& tensor : base.tensors()) {
    const bool folded = folds_.contains(tensor.name);
    add(tensor.stored_name, folded ? DType::f32 : tensor.dtype, folded ? "F32" : tensor.stored_as, tensor.shape);
  }
}

const Fold* FoldedSource::fold_of(const SourceTensor& tensor) const {
  const auto found = folds_.find(tensor.name);
  return found == folds_.end() ? nullptr : &found->second;
}

std::optional<std::span<const std::byte>> FoldedSource::plain_bytes(const SourceTensor& tensor) const {
  if (fold_of(tensor) != nullptr) return std::nullopt;
  return base_.plain_bytes(base_of(tensor));
}

DType FoldedSource::output_dtype(const SourceTensor& tensor) const {
  return fold_of(tensor) != nullptr ? DType::f32 : base_.output_dtype(base_of(tensor));
}

std::optional<QuantizedLayout> FoldedSource::exact_layout(const SourceTensor& tensor) const {
  if (fold_of(tensor) != nullptr) return std::nullopt;
  return base_.exact_layout(base_of(tensor));
}

QuantizedMatrix FoldedSource::exact_groups(const SourceTensor& tensor) const {
  return base_.exact_groups(base_of(tensor));
}

void FoldedSource::hash(const SourceTensor& tensor, ContentHash& hash) const {
  base_.hash(base_of(tensor), hash);
  if (const Fold* fold = fold_of(tensor)) {
    for (const auto* factors : {&fold->rows, &fold->cols}) hash.add(std::as_bytes(std::span(*factors)));
    if (fold->offset != 0) hash.add(std::as_bytes(std::span(&fold->offset, 1)));
  }
}

void FoldedSource::read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  base_.read_rows(base_of(tensor), first, count, out);
  const Fold* fold = fold_of(tensor);
  if (fold == nullptr) return;
  const int64_t cols = tensor.cols();
  for (int64_t r = 0; r < count; ++r) {
    const float row = fold->rows.empty() ? 1.0f : fold->rows[static_cast<size_t>(first + r)];
    for (int64_t k = 0; k < cols; ++k) {
      float& value = out[r * cols + k];
      if (fold->offset != 0) value += fold->offset;  // a -0 stays one otherwise
      value *= row;
      if (!fold->cols.empty()) value *= fold->cols[static_cast<size_t>(k)];
      if (fold->offset != 0) value -= fold->offset;
    }
  }
}

}  // namespace mxq
