#include "mxq/trials.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/staged_folder.h"
#include "base/stopwatch.h"
#include "base/written_files.h"
#include "model/model_state.h"
#include "model/model_tokenizer.h"
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

InputPaths inputs_of(const fs::path& model, const WriteOptions& write) {
  InputPaths inputs{{"the model", model}};
  inputs.insert(inputs.end(), write.inputs.begin(), write.inputs.end());
  return inputs;
}

fs::path trial_folder(const OutputFolder& out, size_t number) {
  return sibling(out.path(), fmt::format("trial{}", number));
}

/// The folders that there are of trials, a killed one's last included; of `count` trials at least.
std::vector<fs::path> trial_folders(const OutputFolder& out, size_t count) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (size_t i = 0;; ++i) {
    const size_t before = found.size();
    const fs::path done = trial_folder(out, i);
    for (const fs::path& path : {done, sibling(done, "partial")}) {
      if (fs::exists(fs::symlink_status(path, ignored))) found.push_back(path);
    }
    if (found.size() == before && i >= count) return found;
  }
}

/// `out`, where trials may be made beside it.
OutputFolder checked(const fs::path& model, const fs::path& out, const WriteOptions& write) {
  OutputFolder folder(out, write.overwrite, inputs_of(model, write));
  for (const fs::path& path : trial_folders(folder, 0)) OutputFolder(path, true, {});
  return folder;
}

/// Checkpoints beside `out`; what is not kept is removed.
class Trials {
 public:
  Trials(const Model& model, const fs::path& out, const TrialOptions& options, const WriteOptions& write,
         Progress* progress)
      : base_(model),
        out_(checked(model.path(), out, write)),
        options_(options),
        write_(write),
        progress_(progress) {
    write_.overwrite = true;
    remove_all();  // what a killed run left
    logits_ = place_of_logits();
  }
  ~Trials() { remove_all(); }
  Trials(const Trials&) = delete;
  Trials& operator=(const Trials&) = delete;

  const Trial& run(const PlanFile& plan) {
    const fs::path folder = this->folder(report_.trials.size());
    written_.push_back(quantize_model(base_, folder, plan, write_, progress_));
    Trial trial{plan, {}, 0, {}};
    try {
      if (options_.text) {
        trial.comparison = compare_models(folder, base_, *options_.text, options_.perplexity, progress_, logits_);
        trial.loss = trial.comparison.kl.ln_ppl_ratio;
      } else {
        trial.comparison = compare_models(folder, base_, options_.self, options_.perplexity.run, progress_, logits_);
        trial.loss = trial.comparison.kl.mean;
      }
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_finite) throw;
      trial.not_finite = error.what();
      trial.loss = std::numeric_limits<double>::infinity();
    }
    report_.trials.push_back(std::move(trial));
    return report_.trials.back();
  }

  TrialReport keep(size_t number) {
    replace_folder(folder(number), out_);
    report_.kept = number;
    report_.written = written_[number];
    report_.seconds = watch_.seconds();
    return report_;
  }

  const std::vector<Trial>& trials() const { return report_.trials; }

 private:
  /// Where the model's own logits are kept, so that it is run once: beside `out`, where the disk has room for twice what
  /// they take and nothing of that name is there. Empty: the model is run for each trial.
  fs::path place_of_logits() const {
    const fs::path place = sibling(out_.path(), "trial.logits");
    const int64_t tokens = options_.text ? options_.perplexity.max_tokens : options_.self.sequences * options_.self.tokens;
    const auto words = static_cast<double>(vocabulary(base_.state().source()));
    std::error_code unknown;
    const auto space = fs::space(place.parent_path(), unknown);
    if (unknown || tokens == 0 || 2 * sizeof(float) * words * static_cast<double>(tokens) > static_cast<double>(space.available)) {
      return {};
    }
    if (!fs::exists(fs::symlink_status(place, unknown))) return place;
    try {
      OutputFile(place, kLogitFile, {}).check();
    } catch (const Error&) {
      return {};  // somebody else's
    }
    fs::remove(place, unknown);  // a killed run's
    return place;
  }

  fs::path folder(size_t number) const { return trial_folder(out_, number); }

  void remove_all() const {
    for (const fs::path& path : trial_folders(out_, report_.trials.size())) remove_written(path);
    std::error_code ignored;
    if (!logits_.empty()) fs::remove(logits_, ignored);
  }

  Model base_;
  OutputFolder out_;
  fs::path logits_;
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

void check_trial_output(const fs::path& model, const fs::path& out, const WriteOptions& write) {
  checked(model, out, write);
}

double parse_max_loss(std::string_view text) {
  const bool percent = text.ends_with('%');
  const auto value = parse_double(text.substr(0, text.size() - percent));
  if (!value || !(*value > 0)) {
    throw Error(ErrorCode::usage, "max-loss", fmt::format("'{}'", text), "how much perplexity may rise: 1%, or 0.01");
  }
  if (!percent && *value >= 1) {
    throw Error(ErrorCode::usage, "max-loss", fmt::format("'{}'", text),
                fmt::format("{}% or {}, if that is what is meant, or {}% for a factor of {}", *value, *value / 100,
                            *value * 100, 1 + *value));
  }
  return std::log1p(percent ? *value / 100 : *value);
}

TrialReport quantize_best(const Model& model, const fs::path& out, std::span<const PlanFile> plans,
                          const TrialOptions& options, const WriteOptions& write, Progress* progress) {
  if (plans.empty()) throw Error(ErrorCode::usage, "try plans", "none", "at least one");
  Trials trials(model, out, options, write, progress);
  for (const PlanFile& plan : plans) trials.run(plan);
  const auto& all = trials.trials();
  const auto best =
      std::min_element(all.begin(), all.end(), [](const Trial& a, const Trial& b) { return a.loss < b.loss; });
  if (!std::isfinite(best->loss)) {
    throw Error(ErrorCode::not_finite, "try plans",
                fmt::format("none of {} models gives numbers: {}", all.size(), all.front().not_finite));
  }
  return trials.keep(static_cast<size_t>(best - all.begin()));
}

TrialReport quantize_within_loss(const Model& model, const fs::path& out, const ErrorTable& table,
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
                  fmt::format("at least {:.3g} %, what it is with the largest plan ({:.4f} bits a weight)",
                              100 * std::expm1(loss), file.plan.bits_per_parameter));
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
  return trials.keep(*kept);
}

}  // namespace mxq
