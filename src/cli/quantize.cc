#include "mxq/quantize_model.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/model_remarks.h"
#include "cli/option_modes.h"
#include "cli/plan_model.h"
#include "cli/print_plan.h"
#include "cli/report_coverage.h"
#include "cli/standard_streams.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/runtime.h"
#include "mxq/sensitivity.h"
#include "mxq/text.h"
#include "mxq/trials.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string model, output, plan_path, uniform, max_loss, text;
  bool verify = false;
  MethodOptions method;
  BudgetOptions budget;
  PlanOptions plan;
  WriteOptions write;
};

Mode mode_of(const Options& options) {
  if (!options.plan_path.empty()) return Mode::quantize_plan;
  if (!options.uniform.empty()) return Mode::quantize_uniform;
  if (!options.max_loss.empty()) return Mode::quantize_loss;
  return options.verify ? Mode::quantize_verify : Mode::quantize_budget;
}

struct Seconds {
  double measure = 0, plan = 0, quantize = 0;
};

/// What came of it: the plan that was carried out, and the trials that led to it.
struct Result {
  PlanFile plan;
  WriteReport report;
  std::vector<Trial> trials;
};

/// One scheme for all matrices that are not pinned.
PlanFile uniform_plan(const ErrorTable& table, const std::string& scheme, const PlanFile& plan,
                      AllocateOptions options) {
  options.pins.emplace_back("", scheme);  // the first pin that finds a matrix wins
  PlanFile uniform = plan;
  uniform.plan = allocate(table, reachable_bytes(table, options).smallest, options);
  return uniform;
}

TrialOptions trial_options(const Options& options) {
  TrialOptions trial;
  trial.perplexity.run.compute = best_compute();
  // Text that no plan has been made on, and not what `mxq eval --self` scores on afterwards.
  constexpr uint64_t kTrialSeed = 0x747269616c;
  trial.self.sampling.seed = options.plan.sample_text.seed + kTrialSeed;
  if (!options.text.empty()) {
    trial.text = read_text(options.text);
    trial.perplexity.window = trial.perplexity.stride = 512;
    trial.perplexity.max_tokens = 16384;
  }
  return trial;
}

std::string percent(double loss) {
  return fmt::format("{:+.2f} %", 100 * std::expm1(loss));
}

void print_trials(const TrialReport& report, Objective objective) {
  put("{:10} {:>8} {:>10} {:>12} {:>10}\n", "trials", "bits", "KL", "perplexity", "predicted");
  for (size_t i = 0; i < report.trials.size(); ++i) {
    const Trial& trial = report.trials[i];
    put("{:10} {:>8.4f} {:>10.5f} {:>12} {:>10}\n", i == report.kept ? "  kept" : "",
        trial.plan.plan.bits_per_parameter, trial.comparison.kl.mean, percent(trial.loss),
        objective == Objective::kl ? percent(trial.plan.plan.value) : "");
  }
}

/// Whether the plan or the best uniform one is better, by trial.
Result verify(const Model& model, const Options& options, const PlanFile& plan, const ErrorTable& table,
              const AllocateOptions& allocate_options, const TrialOptions& trial, const WriteOptions& write,
              const CommonOptions& common) {
  std::vector<PlanFile> plans{plan};
  if (plan.plan.best_uniform) {
    plans.push_back(uniform_plan(table, plan.plan.best_uniform->scheme, plan, allocate_options));
  }
  const auto report = quantize_best(model, options.output, plans, trial, write, common.progress().get());
  if (!common.json) {
    print_trials(report, plan.plan.objective);
    if (plans.size() == 1) {
      put("verified   no uniform plan fits the budget\n");
    } else {
      const double mixed = report.trials[0].comparison.kl.mean, uniform = report.trials[1].comparison.kl.mean;
      put("verified   KL {:.5f} of the plan against {:.5f} of uniform {}: {} is kept\n", mixed, uniform,
          plan.plan.best_uniform->scheme, report.kept == 0 ? "the plan" : "the uniform one");
    }
  }
  return {report.trials[report.kept].plan, report.written, report.trials};
}

/// The plan as it was written to a file.
Result carry_out(const Model& model, const Options& options, const WriteOptions& write, const CommonOptions& common) {
  const PlanFile plan = read_plan(read_file(options.plan_path), options.plan_path);
  return {plan, quantize_model(model, options.output, plan, write, common.progress().get()), {}};
}

/// One scheme for all.
Result quantize_uniform(const Model& model, const Options& options, const CLI::App& command, const WriteOptions& write,
                        const CommonOptions& common, Seconds& seconds) {
  const Scheme scheme = parse_scheme(options.uniform);
  MethodOptions method = options.method;
  // Families that error feedback cannot code are what others publish: as they do it.
  if (method.fit.empty() && !fit_applies(scheme, Fit::gptq)) method.fit = fit_name(Fit::rtn);
  const MethodChoice choice = choose_method(model, method, "kl");
  if (const Fit fit = parse_fit(choice.method.fit); !fit_applies(scheme, fit)) {
    throw Error(ErrorCode::usage, "--uniform " + options.uniform, fmt::format("--fit {}", choice.method.fit),
                fmt::format("rtn or mse: {} has codes of its own way", scheme.family));
  }
  refuse_unused_method(command, choice.method, options.plan.sample_text, false);
  MeasureOptions measure = choice.method.measure();
  measure.schemes = {scheme};
  AllocateOptions allocate_options;
  allocate_options.objective = Objective::rel;
  PlanFile file;
  file.quantize = measure.quantize;
  file.calibration = choice.method.calibrate(options.plan.sample_text);
  const auto measured = measure_model(model, measure, common.progress().get());
  choice.warn();
  file.plan = allocate(measured.table, reachable_bytes(measured.table, allocate_options).smallest, allocate_options);
  seconds = {measured.seconds, file.plan.seconds, 0};
  if (!common.json) print_plan(file.plan, measured.table);
  return {file, quantize_model(model, options.output, file, write, common.progress().get()), {}};
}

/// Planned for a budget of bytes or of loss.
Result quantize_planned(const Model& model, const Options& options, const CLI::App& command, const WriteOptions& write,
                        const CommonOptions& common, Seconds& seconds) {
  const bool by_loss = !options.max_loss.empty();
  const auto budget = by_loss ? std::nullopt : std::optional(options.budget.budget());
  const double max_loss = by_loss ? parse_max_loss(options.max_loss) : 0;
  const TrialOptions trial = trial_options(options);
  const MethodChoice choice =
      choose_method(model, options.method, options.plan.objective, by_loss || options.budget.all_bytes());
  choice.check();
  if (by_loss && choice.objective != Objective::kl) {
    throw Error(ErrorCode::usage, "--max-loss",
                choice.not_runnable.empty() ? "objective " + std::string(objective_name(choice.objective))
                                            : "a model that cannot be run: " + choice.not_runnable,
                "the objective kl, which predicts losses");
  }
  if (options.verify) {
    if (const auto& reason = model.why_not_runnable()) {
      throw Error(ErrorCode::usage, "--verify", "a model that cannot be run: " + *reason,
                  "models that can be: trials run them");
    }
  }
  refuse_unused_method(command, choice.method, options.plan.sample_text,
                       by_loss || options.verify || choice.objective == Objective::kl);
  PlanFile file;
  file.quantize = choice.method.measure().quantize;
  file.calibration = choice.method.calibrate(options.plan.sample_text);
  check_pins_of(model, options.plan, choice.method);
  auto measured = measure_model(model, choice.method.measure(), common.progress().get());
  seconds.measure = measured.seconds;
  const Problem problem =
      prepare_problem(model, budget, options.plan, choice, measured.table, common, seconds.measure);
  if (by_loss) {
    const auto report = quantize_within_loss(model, options.output, measured.table, problem.options, file,
                                             max_loss, trial, write, common.progress().get());
    const PlanFile& kept = report.trials[report.kept].plan;
    if (!common.json) {
      print_plan(kept.plan, measured.table);
      print_trials(report, Objective::kl);
    }
    return {kept, report.written, report.trials};
  }
  file.plan = allocate(measured.table, problem.budget_bytes, problem.options);
  seconds.plan = file.plan.seconds;
  if (!common.json) print_plan(file.plan, measured.table);
  if (options.verify) return verify(model, options, file, measured.table, problem.options, trial, write, common);
  return {file, quantize_model(model, options.output, file, write, common.progress().get()), {}};
}

/// What makes no sense is said before anything is opened.
void check_usage(const Options& options, const CLI::App& command) {
  const int sources =
      !options.plan_path.empty() + !options.uniform.empty() + options.budget.given() + !options.max_loss.empty();
  if (sources != 1) {
    throw Error(ErrorCode::usage, "quantize", sources == 0 ? "no budget" : "more than one of budget, --plan, --uniform",
                "one of --bits, --size, --vram, --max-loss, --plan or --uniform");
  }
  refuse_unused(command, mode_of(options));
  if (options.budget.given()) options.budget.budget();
  if (!options.max_loss.empty()) parse_max_loss(options.max_loss);
  options.plan.allocate();
}

Result quantize(const Model& model, const Options& options, const CLI::App& command, const CommonOptions& common,
                Seconds& seconds) {
  WriteOptions write = options.write;
  write.cache = options.method.cache();
  if (!options.plan_path.empty()) return carry_out(model, options, write, common);
  if (!options.uniform.empty()) return quantize_uniform(model, options, command, write, common, seconds);
  return quantize_planned(model, options, command, write, common, seconds);
}

void print_json(const Result& result, const Coverage& coverage, const Seconds& seconds) {
  const auto& [file, report, trials] = result;
  auto json = nlohmann::ordered_json::parse(write_plan(file));
  for (const Trial& trial : trials) {
    json["trials"].push_back({{"bits_per_parameter", trial.plan.plan.bits_per_parameter},
                              {"predicted", trial.plan.plan.value},
                              {"kl", trial.comparison.kl.mean},
                              {"ln_ppl_ratio", trial.comparison.kl.ln_ppl_ratio},
                              {"loss", trial.loss}});
  }
  json["files"] = report.files;
  json["coverage"] = coverage_json(coverage);
  json["seconds"] = {{"measure", seconds.measure}, {"plan", seconds.plan}, {"quantize", seconds.quantize}};
  json["peak_rss_bytes"] = peak_rss_bytes();
  put_json(json);
}

void print_summary(const Model& model, const Options& options, const PlanFile& file, const WriteReport& report, const Coverage& coverage,
                   const Seconds& seconds) {
  int64_t after = 0;
  for (const auto& [name, size] : report.files) {
    if (name.ends_with(".safetensors")) after += size;
  }
  const WeightBytes before = weight_bytes(model);
  const double weights = 8 * static_cast<double>(file.plan.bytes) / file.plan.bits_per_parameter;
  const auto half = static_cast<int64_t>(2 * weights);
  put("matrices   {}; {} in fp16, so {:.2f} x smaller\n", format_size(report.matrix_bytes), format_size(half),
      static_cast<double>(half) / static_cast<double>(report.matrix_bytes));
  put("all        {} in {}; as it was: {}, all in fp16: {}\n", format_size(after), options.output,
      format_size(before.stored), format_size(2 * before.weights));
  print_coverage(coverage);
  put("time       measure {:.1f} s, plan {:.3f} s, quantize {:.1f} s; peak memory {}\n", seconds.measure,
      seconds.plan, seconds.quantize, format_size(peak_rss_bytes()));
}

void run(Options& options, const CLI::App& command, const CommonOptions& common) {
  check_usage(options, command);
  options.write.inputs = options.method.inputs(options.model);
  options.write.inputs.push_back({"the plan", options.plan_path});
  options.write.inputs.push_back({"the text", options.text});
  const bool trials = options.verify || !options.max_loss.empty();
  (trials ? check_trial_output : check_output)(options.model, options.output, options.write);
  const Model model(options.model);
  say_remarks(model);
  Seconds seconds;
  const Result result = quantize(model, options, command, common, seconds);
  seconds.quantize = result.report.seconds;
  for (const auto& note : result.report.notes) spdlog::warn("{}", note);
  // Where sensitivities were measured, that has been said.
  if (result.plan.plan.objective != Objective::kl) warn_of_degenerate_text(result.report.sample);
  const Coverage coverage = plan_coverage(model, result.plan.plan);
  warn_of_coverage(coverage, options.budget.bits.has_value());
  if (common.json) {
    print_json(result, coverage, seconds);
  } else {
    print_summary(model, options, result.plan, result.report, coverage, seconds);
  }
}

}  // namespace

void add_quantize(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("quantize", "fit a model into a budget: measure, plan, write the checkpoint");
  command->add_option("MODEL", options->model, "folder of safetensors, .safetensors or .gguf")->required();
  command->add_option("-o,--output", options->output, "checkpoint folder to make")->type_name("OUT")->required();
  command->add_option("--plan", options->plan_path, "carry out this plan (of mxq plan) instead of a budget")
      ->type_name("FILE");
  command->add_option("--uniform", options->uniform, "one scheme for all matrices instead of a budget")
      ->type_name("SCHEME");
  command
      ->add_option("--max-loss", options->max_loss,
                   "instead of a budget: the smallest checkpoint whose perplexity is at most so much higher: 1%, "
                   "or 0.01")
      ->type_name("LOSS");
  command->add_flag("--verify", options->verify,
                    "also carry out the best uniform plan of the budget, and keep the better one by trial");
  command
      ->add_option("--text", options->text,
                   "what --max-loss and --verify measure on (default: text that the model samples)")
      ->type_name("FILE");
  command->add_flag("--overwrite", options->write.overwrite,
                    "replace OUT, where mxq wrote it and it holds nothing else");
  command->add_option("--shard-bytes", options->write.max_shard_bytes, "largest weight file")
      ->type_name("BYTES")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50))
      ->capture_default_str();
  add_budget(*command, options->budget);
  add_plan_options(*command, options->plan);
  add_method(*command, options->method);
  command->callback([options, command, &common] {
    run(*options, *command, common);
  });
}

}  // namespace mxq::cli
