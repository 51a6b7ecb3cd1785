#include "cli/print_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "cli/standard_streams.h"
#include "mxq/text.h"

namespace mxq::cli {

namespace {

struct Share {
  int64_t matrices = 0, weights = 0, bytes = 0;
};

/// "self_attn.q_proj": "q".
std::string short_name(const std::string& module) {
  if (module.empty()) return "other";
  std::string name = module.substr(module.rfind('.') + 1);
  if (name.ends_with("_proj")) name.resize(name.size() - 5);
  return name;
}

}  // namespace

void print_plan(const Plan& plan, const ErrorTable& table) {
  std::map<std::string, Share> schemes;
  std::vector<std::string> modules;  // in the order of the model
  std::map<std::string, std::map<std::string, int64_t>> counts;
  int64_t weights = 0;
  for (size_t i = 0; i < plan.matrices.size(); ++i) {
    const auto& chosen = plan.matrices[i];
    const auto& matrix = table.matrices[i];
    auto& share = schemes[chosen.scheme];
    ++share.matrices;
    share.weights += matrix.params;
    share.bytes += chosen.bytes;
    weights += matrix.params;
    if (!counts.contains(matrix.module)) modules.push_back(matrix.module);
    ++counts[matrix.module][chosen.scheme];
  }

  // The smallest first.
  std::vector<std::pair<double, std::string>> by_size;
  for (const auto& [scheme, share] : schemes) {
    by_size.emplace_back(static_cast<double>(share.bytes) / static_cast<double>(share.weights), scheme);
  }
  std::sort(by_size.begin(), by_size.end());
  put("{:20}{:>8}", "matrices by scheme", "weights");
  for (const auto& module : modules) put("{:>8}", short_name(module));
  put("\n");
  for (const auto& [size, scheme] : by_size) {
    const double share = static_cast<double>(schemes[scheme].weights) / static_cast<double>(weights);
    put("  {:18}{:>6.1f} %", scheme, 100 * share);
    for (const auto& module : modules) {
      const auto found = counts[module].find(scheme);
      put("{:>8}", found == counts[module].end() ? "." : std::to_string(found->second));
    }
    put("\n");
  }
  put("\n");
  put("budget     {} for {} matrices of {:.1f} M weights\n", format_size(plan.budget_bytes), plan.matrices.size(),
      static_cast<double>(weights) / 1e6);
  put("plan       {} = {:.4f} bits per parameter\n", format_size(plan.bytes), plan.bits_per_parameter);
  const std::string proof =
      plan.gap == 0 ? "proved optimal" : fmt::format("at most {:.2g} % above the optimum", 100 * plan.gap);
  put("objective  {} = {:.6g}, {} in {:.1f} ms\n", objective_name(plan.objective), plan.value, proof,
      1000 * plan.seconds);
  if (plan.best_uniform) {
    const auto& uniform = *plan.best_uniform;
    put("uniform    {} is the best that fits: {} = {:.6g} in {}; the plan is {:.1f} % lower\n", uniform.scheme,
        objective_name(plan.objective), uniform.objective, format_size(uniform.bytes),
        uniform.objective > 0 ? 100 * (1 - plan.value / uniform.objective) : 0.0);
  } else {
    put("uniform    no single scheme fits this budget\n");
  }
}

}  // namespace mxq::cli
