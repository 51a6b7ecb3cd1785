#include "mxq/trials.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/staged_folder.h"
#include "base/stopwatch.h"
#include "export/target.h"
#include "jobs/loss_search.h"
#include "model/model_state.h"
#include "model/model_tokenizer.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

InputPaths inputs_of(const fs::path& model, const WriteOptions& write) {
  InputPaths inputs{{"the model", model}};
  inputs.insert(inputs.end(), write.inputs.begin(), write.inputs.end());
  return inputs;
}

fs::path trial_path(const fs::path& out, size_t number) {
  return sibling(out, fmt::format("trial{}", number));
}

/// What there is of trials, a killed one's last included; of `count` trials at least.
std::vector<fs::path> trial_paths(const fs::path& out, size_t count) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (size_t i = 0;; ++i) {
    const fs::path path = trial_path(out, i);
    if (fs::exists(fs::symlink_status(path, ignored)) ||
        fs::exists(fs::symlink_status(sibling(path, "partial"), ignored))) {
      found.push_back(path);
    } else if (i >= count) {
      return found;
    }
  }
}

/// `out`, where trials may be made beside it.
OutputPlace checked(const fs::path& model, const fs::path& out, const Target& target, const WriteOptions& write) {
  OutputPlace place{out, write.overwrite, inputs_of(model, write)};
  target.check_output(place);
  // Names are put beside it: no slash at its end, and a folder before it.
  while (!place.path.has_filename() && place.path.has_relative_path()) place.path = place.path.parent_path();
  place.path = fs::weakly_canonical(fs::absolute(place.path).parent_path()) / place.path.filename();
  for (const fs::path& path : trial_paths(place.path, 0)) target.check_output({path, true, {}});
  return place;
}

/// Checkpoints beside `out`; what is not kept is removed.
class Trials {
 public:
  Trials(const Model& model, const fs::path& out, const std::string& format, const TrialOptions& options,
         const WriteOptions& write, Progress* progress)
      : base_(model),
        target_(find_target(format)),
        out_(checked(model.path(), out, target_, write)),
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
    const fs::path made = trial_path(out_.path, report_.trials.size());
    written_.push_back(quantize_model(base_, made, plan, write_, progress_));
    Trial trial{plan, {}, 0, {}};
    try {
      if (options_.text) {
        trial.comparison = compare_models(made, base_, *options_.text, options_.perplexity, progress_, logits_);
        trial.loss = trial.comparison.kl.ln_ppl_ratio;
      } else {
        trial.comparison = compare_models(made, base_, options_.self, options_.perplexity.run, progress_, logits_);
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

  /// The others go first: whoever is killed once `out` is there leaves nothing beside it.
  TrialReport keep(size_t number) {
    const fs::path made = trial_path(out_.path, number);
    remove_all_but(made);
    target_.rename(made, out_);
    report_.kept = number;
    report_.written = written_[number];
    // Of a target that is one file.
    if (auto file = report_.written.files.extract(made.filename().string())) {
      file.key() = out_.path.filename().string();
      report_.written.files.insert(std::move(file));
    }
    report_.seconds = watch_.seconds();
    return report_;
  }

  const std::vector<Trial>& trials() const { return report_.trials; }

 private:
  /// Where the model's own logits are kept, so that it is run once: beside `out`, where the disk has room for twice
  /// what they take and nothing of that name is there. Empty: the model is run for each trial.
  fs::path place_of_logits() const {
    const fs::path place = sibling(out_.path, "trial.logits");
    const int64_t tokens =
        options_.text ? options_.perplexity.max_tokens : options_.self.sequences * options_.self.tokens;
    const auto words = static_cast<double>(vocabulary(base_.state().source()));
    std::error_code unknown;
    const auto space = fs::space(place.parent_path(), unknown);
    if (unknown || tokens == 0 ||
        2 * sizeof(float) * words * static_cast<double>(tokens) > static_cast<double>(space.available)) {
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

  void remove_all() const { remove_all_but({}); }

  /// Trials, and the model's own logits.
  void remove_all_but(const fs::path& kept) const {
    for (const fs::path& path : trial_paths(out_.path, report_.trials.size())) {
      if (path != kept) target_.remove(path);
    }
    std::error_code ignored;
    if (!logits_.empty()) fs::remove(logits_, ignored);
  }

  Model base_;
  const Target& target_;
  OutputPlace out_;
  fs::path logits_;
  const TrialOptions& options_;
  WriteOptions write_;
  Progress* progress_;
  Stopwatch watch_;
  std::vector<WriteReport> written_;
  TrialReport report_;
};

}  // namespace

void check_trial_output(const fs::path& model, const fs::path& out, const WriteOptions& write,
                        const std::string& format) {
  checked(model, out, find_target(format), write);
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
  Trials trials(model, out, plans.front().format, options, write, progress);
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
  Trials trials(model, out, method.format, options, write, progress);
  PlanFile file = method;
  const size_t kept = search_within_loss(table, allocate_options, max_loss, [&](const Plan& plan) {
    file.plan = plan;
    return trials.run(file).loss;
  });
  return trials.keep(kept);
}

}  // namespace mxq
