#include "mxq/coverage.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_set>

#include "base/named.h"
#include "jobs/coverage.h"
#include "model/model_state.h"
#include "model/select_matrices.h"

namespace mxq {

namespace {

constexpr Named<LeftReason> kReasons[] = {
    {"embeddings", LeftReason::embeddings}, {"skipped", LeftReason::skipped}, {"stack", LeftReason::stack},
    {"unnamed", LeftReason::unnamed},       {"tower", LeftReason::tower},     {"outside", LeftReason::outside},
    {"beyond", LeftReason::beyond},         {"dtype", LeftReason::dtype},     {"router", LeftReason::router},
    {"time_step", LeftReason::time_step},   {"small", LeftReason::small},     {"unused_head", LeftReason::unused_head}};

bool is_unexpected(LeftReason reason) {
  switch (reason) {
    case LeftReason::stack:
    case LeftReason::unnamed:
    case LeftReason::tower:
    case LeftReason::outside:
    case LeftReason::beyond:
    case LeftReason::dtype:
      return true;
    default:
      return false;
  }
}

std::string words(const LeftOut& left) {
  const std::string example = fmt::format("{} ({})", left.example, left.dtype);
  switch (left.reason) {
    case LeftReason::embeddings:
      return "embedding and output matrix (--embeddings plans them)";
    case LeftReason::skipped:
      return "left out of the plan";
    case LeftReason::stack:
      return "experts in stacks of three dimensions, which mxq does not quantize yet, such as " + example;
    case LeftReason::unnamed:
      return "experts whose names do not end in '.weight', such as " + example;
    case LeftReason::tower:
      return "parts that read images or sound, such as " + example;
    case LeftReason::outside:
      return "linear layers outside the stacks of layers, such as " + example;
    case LeftReason::beyond:
      return "layers behind the last that the configuration counts, or beside them for more than one token, such as " +
             example;
    case LeftReason::dtype:
      return "matrices in a dtype that is not read as weights, such as " + example;
    case LeftReason::router:
      return "routers of experts";
    case LeftReason::time_step:
      return "time steps of state-space layers";
    case LeftReason::small:
      return fmt::format("matrices of fewer than {} rows or columns", kLeastExtent);
    case LeftReason::unused_head:
      return "an output matrix that the tied model does not use";
  }
  return {};
}

/// With as many digits as tell it from 0 and from all.
std::string percent(int64_t part, int64_t all) {
  const double share = 100 * static_cast<double>(part) / static_cast<double>(all);
  return share < 0.05 ? fmt::format("{:.2g} %", share) : fmt::format("{:.1f} %", share);
}

std::string count(int64_t weights) {
  const auto number = static_cast<double>(weights);
  if (number < 1e6) return fmt::format("{:.1f} k", number / 1e3);
  return number < 1e9 ? fmt::format("{:.1f} M", number / 1e6) : fmt::format("{:.2f} G", number / 1e9);
}

}  // namespace

std::string_view left_reason_name(LeftReason reason) {
  return name_of(kReasons, reason);
}

int64_t Coverage::left_weights() const {
  int64_t sum = 0;
  for (const LeftOut& part : left) sum += part.weights;
  return sum;
}

int64_t Coverage::unexpected_weights() const {
  int64_t sum = 0;
  for (const LeftOut& part : left) sum += is_unexpected(part.reason) ? part.weights : 0;
  return sum;
}

std::string Coverage::line() const {
  if (left.empty()) return {};
  std::string parts;
  for (const LeftOut& part : left) {
    parts += fmt::format("{}{} {}", parts.empty() ? "" : "; ", percent(part.weights, weights), words(part));
  }
  return fmt::format("{} of {} weights stay as they are: {}", percent(left_weights(), weights), count(weights), parts);
}

Coverage coverage_of(const ModelSource& model, const std::vector<const SourceTensor*>& matrices, bool embeddings) {
  const std::unordered_set<const SourceTensor*> planned(matrices.begin(), matrices.end());
  const TiedCopy tied = find_tied_copy(model);
  Coverage coverage;
  std::map<LeftReason, LeftOut> left;
  for (const auto& tensor : model.tensors()) {
    if (&tensor == tied.copy) continue;
    const int64_t weights = tensor.elements();
    coverage.weights += weights;
    if (planned.contains(&tensor)) coverage.planned += weights;
    if (planned.contains(&tensor) || tensor.role == TensorRole::other || weights == 0) continue;
    const LeftReason reason = why_left(model, tensor, embeddings).value_or(LeftReason::skipped);
    LeftOut& part = left.try_emplace(reason, LeftOut{reason, 0, 0, tensor.name, tensor.stored_as}).first->second;
    ++part.tensors;
    part.weights += weights;
  }
  for (auto& [reason, part] : left) coverage.left.push_back(std::move(part));
  std::stable_sort(coverage.left.begin(), coverage.left.end(),
                   [](const LeftOut& a, const LeftOut& b) { return a.weights > b.weights; });
  return coverage;
}

Coverage model_coverage(const Model& opened, const MatrixSelection& selection) {
  const ModelSource& model = opened.state().source();
  return coverage_of(model, select_matrices(model, selection), selection.embeddings);
}

Coverage plan_coverage(const Model& opened, const Plan& plan) {
  const ModelSource& model = opened.state().source();
  std::unordered_set<std::string> names;
  for (const auto& matrix : plan.matrices) names.insert(matrix.name);
  std::vector<const SourceTensor*> matrices;
  bool embeddings = false;
  for (const auto& tensor : model.tensors()) {
    if (!tensor.matrix || !names.contains(tensor.matrix_name())) continue;
    matrices.push_back(&tensor);
    embeddings |= !tensor.matrix->in_layer();
  }
  return coverage_of(model, matrices, embeddings);
}

}  // namespace mxq
