#include "export/transformers_target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "export/transformers_model.h"

namespace mxq {

void TransformersTarget::check(const QuantizeOptions& options, std::span<const Scheme> schemes) const {
  BiasGroupsTarget::check(options, schemes);
  if (options.fit != Fit::gptq && options.fit != Fit::mse) refuse("fit", fit_name(options.fit), "gptq or mse");
  const auto known = zero_points();
  if (std::find(known.begin(), known.end(), options.feedback.zero_point) != known.end()) return;
  std::vector<std::string_view> names;
  for (const ZeroPoint zero_point : known) names.push_back(zero_point_name(zero_point));
  refuse("zero-point", zero_point_name(options.feedback.zero_point), fmt::format("{}", fmt::join(names, " or ")));
}

void TransformersTarget::check_model(const ModelSource& model) const {
  check_transformers_model(model, operation());
  std::vector<std::string> notes;
  model_tensors(model, notes);
}

std::vector<const SourceTensor*> TransformersTarget::model_tensors(const ModelSource& model,
                                                                   std::vector<std::string>& notes) const {
  return transformers_tensors(model, operation(), notes);
}

void note_split_modules(const ModelSource& model, std::vector<std::string>& notes) {
  for (const SourceTensor& tensor : model.tensors()) {
    if (!tensor.name.ends_with(".gate_up_proj.weight")) continue;
    notes.push_back(
        fmt::format("GPTQModel 7.7 does not find '{}', which it takes apart before it loads a folder: vLLM and "
                    "transformers do",
                    tensor.matrix_name()));
    return;
  }
}

std::vector<std::string> plain_modules(const std::vector<const SourceTensor*>& kept) {
  std::vector<std::string> names;
  for (const SourceTensor* tensor : kept) {
    if (tensor->matrix && tensor->role == TensorRole::matrix) names.push_back(tensor->matrix_name());
  }
  return names;
}

}  // namespace mxq
