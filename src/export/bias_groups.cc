#include "export/bias_groups.h"

#include <algorithm>

namespace mxq {

namespace {

bool is_wide(const Scheme& scheme) {
  const auto& known = wide_schemes();
  return std::find(known.begin(), known.end(), scheme) != known.end();
}

}  // namespace

DType float_dtype(Metadata metadata) {
  return metadata == Metadata::bf16_bias ? DType::bf16 : DType::f16;
}

std::optional<Metadata> BiasGroupsTarget::usual_metadata(const ModelSource* model) const {
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

void BiasGroupsTarget::check(const QuantizeOptions& options, std::span<const Scheme> schemes) const {
  for (const Scheme& scheme : schemes) {
    if (!is_wide(scheme)) refuse("schemes", scheme.name(), "b2, b3, b4, b5, b6 or b8 with g32, g64 or g128");
  }
  if (options.normalize != Normalize::none) refuse("normalize", normalize_name(options.normalize), "none");
  if (options.axis != 1) refuse("axis", "0", "1");
  if (!has_bias(options.metadata)) {
    refuse("metadata", metadata_name(options.metadata), "f16-bias (numbers of groups in F16) or bf16-bias (in BF16)");
  }
}

bool BiasGroupsTarget::holds(const Scheme& scheme, const QuantizeOptions& /*options*/, int64_t /*rows*/,
                             int64_t cols) const {
  return is_wide(scheme) && cols % scheme.group == 0;
}

QuantizedLayout BiasGroupsTarget::widest_layout(int64_t rows, int64_t cols) const {
  return {rows, cols, {8, 32}, 1, Metadata::bf16_bias};
}

}  // namespace mxq
