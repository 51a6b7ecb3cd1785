#include "export/bias_groups.h"

#include <algorithm>

namespace mxq {

DType float_dtype(Metadata metadata) {
  return metadata == Metadata::bf16_bias ? DType::bf16 : DType::f16;
}

Metadata usual_bias_metadata(const ModelSource* model) {
  if (model == nullptr) return Metadata::f16_bias;
  int64_t all = 0, half = 0;
  for (const SourceTensor& tensor : model->tensors()) {
    if (!tensor.matrix) continue;
    all += tensor.elements();
    half += tensor.dtype == DType::f16 ? tensor.elements() : 0;
  }
  const bool overflows = model->architecture().starts_with("gemma");
  return 2 * half > all && !overflows ? Metadata::f16_bias : Metadata::bf16_bias;
}

bool is_wide(const Scheme& scheme) {
  const auto& known = wide_schemes();
  return std::find(known.begin(), known.end(), scheme) != known.end();
}

}  // namespace mxq
