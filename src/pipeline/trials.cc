#include "mxq/trials.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/staged_folder.h"
#include "base/stopwatch.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

/// A search ends where this much of the allowed loss is used, where no plan is left between two trials whose predicted
/// losses differ by less than this, or after so many trials if one of them was good.
constexpr double kUsed = 0.95, kCloseEnough = 1.02;
constexpr size_t kMostTrials = 6;
/// Aimed at after a trial that lost too much.
constexpr double kAim = 0.98;

/// Checkpoints beside `out`; what is not kept is removed.
class Trials {
 public:
  Trials(const fs::path& model, const fs::path& out, const TrialOptions& options, const WriteOptions& write,
         Progress* progress)
      : model_(model), out_(out), options_(options), write_(write), progress_(progress) {
    check_output(out, write);
    write_.overwrite = true;
    remove_all();  // what a killed run left
  }
  ~Trials() { remove_all(); }
  Trials(const Trials&) = delete;
  Trials& operator=(const Trials&) = delete;

  const Trial& run(const PlanFile& plan) {
    const fs::path folder = this->folder(report_.trials.size());
    written_.push_back(quantize_model(model_, folder, plan, write_, progress_));
    Trial trial{plan, {}, 0};
    try {
      if (options_.text) {
        trial.comparison = compare_models(folder, model_, *options_.text, options_.perplexity, progress_);
        trial.loss = trial.comparison.kl.ln_ppl_ratio;
      } else {
        trial.comparison = compare_models(folder, model_, options_.self, options_.perplexity.run, progress_);
        trial.loss = trial.comparison.kl.mean;
      }
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_finite) throw;
      trial.comparison.kl.mean = trial.comparison.kl.ln_ppl_ratio = std::numeric_limits<double>::quiet_NaN();
      trial.loss = std::numeric_limits<double>::infinity();
    }
    report_.trials.push_back(std::move(trial));
    return report_.trials.back();
  }

  TrialReport keep(size_t number, bool overwrite) {
    replace_folder(folder(number), out_, overwrite);
    report_.kept = number;
    report_.written = written_[number];
    report_.seconds = watch_.seconds();
    return report_;
  }

  const std::vector<Trial>& trials() const { return report_.trials; }

 private:
  fs::path folder(size_t number) const { return sibling(out_, fmt::format("trial{}", number)); }

  /// What there is of trials, a killed one's last included.
  void remove_all() const {
    std::error_code ignored;
    for (size_t i = 0;; ++i) {
      const fs::path done = folder(i), begun = sibling(done, "partial");
      const bool found = fs::exists(done, ignored) || fs::exists(begun, ignored);
      if (!found && i >= report_.trials.size()) return;
      fs::remove_all(done, ignored);
      fs::remove_all(begun, ignored);
    }
  }

  fs::path model_, out_;
  const TrialOptions& options_;
  WriteOptions write_;
  Progress* progress_;
  Stopwatch watch_;
  std::vector<WriteReport> written_;
  TrialReport report_;
};

bool loss_is_used(double loss, double max_loss) {
  return loss <= max_loss && loss >= kUsed * max_loss;
}

}  // namespace

double parse_max_loss(std::string_view text) {
  const bool percent = text.ends_with('%');
  const auto value = parse_double(text.substr(0, text.size() - percent));
  if (!value || !(*value > 0)) {
    throw Error(ErrorCode::usage, "--max-loss", fmt::format("'{}'", text), "how much perplexity may rise: 1%, or 0.01");
  }
  if (!percent && *value >= 1) {
    throw Error(ErrorCode::usage, "--max-loss", fmt::format("'{}'", text),
                fmt::format("{}% or {}, if that is what is meant; {}% for a factor of {}", *value, *value / 100,
                            *value * 100, 1 + *value));
  }
  return std::log1p(percent ? *value / 100 : *value);
}

TrialReport quantize_best(const fs::path& model, const fs::path& out, std::span<const PlanFile> plans,
                          const TrialOptions& options, const WriteOptions& write, Progress* progress) {
  if (plans.empty()) throw Error(ErrorCode::usage, "try plans", "none", "at least one");
  Trials trials(model, out, options, write, progress);
  for (const PlanFile& plan : plans) trials.run(plan);
  const auto& all = trials.trials();
  const auto best =
      std::min_element(all.begin(), all.end(), [](const Trial& a, const Trial& b) { return a.loss < b.loss; });
  if (!std::isfinite(best->loss)) {
    throw Error(ErrorCode::not_finite, "try plans", fmt::format("NaN or infinity from all {} models", all.size()));
  }
  return trials.keep(static_cast<size_t>(best - all.begin()), write.overwrite);
}

TrialReport quantize_within_loss(const fs::path& model, const fs::path& out, const ErrorTable& table,
                                 const AllocateOptions& allocate_options, const PlanFile& method, double max_loss,
                                 const TrialOptions& options, const WriteOptions& write, Progress* progress) {
  if (!(max_loss > 0)) throw Error(ErrorCode::usage, "max loss", fmt::format("{}", max_loss), "above 0");
  Trials trials(model, out, options, write, progress);
  const Plan largest = allocate(table, reachable_bytes(table, allocate_options).largest, allocate_options);
  const auto plan_of = [&](double aim) {
    return aim <= largest.value ? largest : smallest_plan(table, aim, allocate_options);
  };
  const auto tried = [&](const Plan& plan) {
    return std::any_of(trials.trials().begin(), trials.trials().end(),
                       [&](const Trial& trial) { return trial.plan.plan.bytes == plan.bytes; });
  };
  // Predicted losses: of the smallest plan that is known to be good enough, and of the largest that is not.
  double good = 0, bad = INFINITY;
  std::optional<size_t> kept;
  PlanFile file = method;
  file.plan = plan_of(max_loss);
  while (true) {
    const double predicted = file.plan.value, loss = trials.run(file).loss;
    if (loss <= max_loss) {
      kept = trials.trials().size() - 1;
      good = predicted;
    } else if (file.plan.bytes == largest.bytes) {
      throw Error(ErrorCode::infeasible, "max loss",
                  fmt::format("a perplexity at most {:.3g} % higher", 100 * std::expm1(max_loss)),
                  fmt::format("the largest plan ({:.4f} bits a weight) makes it {:.3g} % higher",
                              file.plan.bits_per_parameter, 100 * std::expm1(loss)));
    } else {
      bad = predicted;
    }
    const bool patient = trials.trials().size() < kMostTrials;
    if (kept && (!patient || loss_is_used(loss, max_loss) || bad <= good * kCloseEnough)) break;
    // Losses are about in proportion to what was predicted.
    double aim = loss > 0 ? predicted * max_loss / loss * kAim : 2 * predicted;
    if (!kept) {
      aim = std::min(aim, patient ? kAim * bad : bad / 2);
    } else if (bad < INFINITY) {
      aim = std::clamp(aim, good * std::sqrt(kCloseEnough), bad / std::sqrt(kCloseEnough));
    }
    file.plan = plan_of(aim);
    while (!kept && tried(file.plan)) file.plan = plan_of(aim *= kAim);
    if (tried(file.plan)) break;
  }
  return trials.keep(*kept, write.overwrite);
}

}  // namespace mxq
