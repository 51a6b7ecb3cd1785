#include "jobs/loss_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "mxq/error.h"

namespace mxq {

namespace {

/// A search ends where this much of the allowed loss is used, where no plan is left between two trials whose predicted
/// losses differ by less than this, or after so many trials if one of them was good.
constexpr double kUsed = 0.95, kCloseEnough = 1.02;
constexpr size_t kMostTrials = 6;
/// Aimed at after a trial that lost too much.
constexpr double kAim = 0.98;

}  // namespace

size_t search_within_loss(const ErrorTable& table, const AllocateOptions& options, double max_loss,
                          const std::function<double(const Plan& plan)>& loss_of) {
  const Plan largest = allocate(table, reachable_bytes(table, options).largest, options);
  const auto plan_of = [&](double aim) { return aim <= largest.value ? largest : smallest_plan(table, aim, options); };
  std::vector<int64_t> bytes;  // of the plans tried
  const auto tried = [&](const Plan& plan) { return std::find(bytes.begin(), bytes.end(), plan.bytes) != bytes.end(); };
  // Predicted losses: of the smallest plan that is known to be good enough, and of the largest that is not.
  double good = 0, bad = INFINITY;
  std::optional<size_t> kept;
  Plan plan = plan_of(max_loss);
  while (true) {
    bytes.push_back(plan.bytes);
    const double predicted = plan.value, loss = loss_of(plan);
    if (loss <= max_loss) {
      kept = bytes.size() - 1;
      good = predicted;
    } else if (plan.bytes == largest.bytes) {
      throw Error(ErrorCode::infeasible, "max-loss",
                  fmt::format("a perplexity at most {:.3g} % higher", 100 * std::expm1(max_loss)),
                  fmt::format("at least {:.3g} %, what it is with the largest plan ({:.4f} bits per parameter)",
                              100 * std::expm1(loss), plan.bits_per_parameter));
    } else {
      bad = predicted;
    }
    const bool patient = bytes.size() < kMostTrials, used = loss <= max_loss && loss >= kUsed * max_loss;
    if (kept && (!patient || used || bad <= good * kCloseEnough)) break;
    // Losses are about in proportion to what was predicted.
    double aim = loss > 0 ? predicted * max_loss / loss * kAim : 2 * predicted;
    if (!kept) {
      aim = std::min(aim, patient ? kAim * bad : bad / 2);
    } else if (bad < INFINITY) {
      aim = std::clamp(aim, good * std::sqrt(kCloseEnough), bad / std::sqrt(kCloseEnough));
    }
    plan = plan_of(aim);
    while (!kept && tried(plan)) plan = plan_of(aim *= kAim);
    if (tried(plan)) break;
  }
  return *kept;
}

}  // namespace mxq
