#include "jobs/match_plan.h"

#include <fmt/format.h>

#include <string>

#include "export/target.h"
#include "mxq/error.h"

namespace mxq {

std::unordered_map<const SourceTensor*, Scheme> match_plan(const ModelSource& model, const PlanFile& file) {
  std::unordered_map<std::string, const PlannedMatrix*> planned;
  for (const auto& matrix : file.plan.matrices) planned[matrix.name] = &matrix;
  std::unordered_map<const SourceTensor*, Scheme> schemes;
  const auto other_model = [](const std::string& given) {
    throw Error(ErrorCode::usage, "apply plan", given, "the model that the plan was made for");
  };
  const Target& target = find_target(file.format);
  for (const auto& tensor : model.tensors()) {
    if (!tensor.matrix) continue;
    const auto found = planned.find(tensor.matrix_name());
    if (found == planned.end()) continue;
    const Scheme scheme = parse_scheme(found->second->scheme);
    const int64_t bytes = target.matrix_bytes(scheme, file.quantize, tensor.rows(), tensor.cols());
    if (bytes != found->second->bytes) {
      other_model(fmt::format("the plan gives '{}' {} bytes in {}, a {} x {} matrix takes {}", found->first,
                              found->second->bytes, scheme.name(), tensor.rows(), tensor.cols(), bytes));
    }
    schemes.emplace(&tensor, scheme);
    planned.erase(found);
  }
  if (!planned.empty()) {
    other_model(fmt::format("the plan names {} matrices that the model lacks, e.g. '{}'", planned.size(),
                            planned.begin()->first));
  }
  return schemes;
}

}  // namespace mxq
