#include "mxq/quantize.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <iterator>
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
#include "cli/say_forecast.h"
#include "cli/standard_streams.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string model, output, plan_path, text;
  MethodOptions method;
  WriteOptions write;
};

Mode mode_of(const Options& options) {
  const MethodRequest& request = options.method.request;
  if (!options.plan_path.empty()) return Mode::quantize_plan;
  if (request.uniform) return Mode::quantize_uniform;
  if (request.max_loss) return Mode::quantize_loss;
  return request.verify ? Mode::quantize_verify : Mode::quantize_budget;
}

std::string percent(double loss) {
  return fmt::format("{:+.2f} %", 100 * std::expm1(loss));
}

void print_trials(const TrialReport& report, Objective objective) {
  put("{:10} {:>8} {:>10} {:>12} {:>10}\n", "trials", "bits", "KL", "perplexity", "predicted");
  for (size_t i = 0; i < report.trials.size(); ++i) {
    const Trial& trial = report.trials[i];
    if (!trial.not_finite.empty()) {
      put("{:10} {:>8.4f} {}\n", "", trial.plan.plan.bits_per_parameter, trial.not_finite);
      continue;
    }
    put("{:10} {:>8.4f} {:>10.5f} {:>12} {:>10}\n", i == report.kept ? "  kept" : "",
        trial.plan.plan.bits_per_parameter, trial.comparison.kl.mean, percent(trial.loss),
        objective == Objective::kl ? percent(trial.plan.plan.value) : "");
  }
}

/// Whether the plan or the best uniform one was better, by trial.
void print_verdict(const TrialReport& report, const PlanFile& plan) {
  print_trials(report, plan.plan.objective);
  if (report.trials.size() == 1) {
    put("verified   no uniform plan fits the budget\n");
    return;
  }
  const auto kl = [&](size_t i) {
    const Trial& trial = report.trials[i];
    return trial.not_finite.empty() ? fmt::format("KL {:.5f}", trial.comparison.kl.mean) : "no numbers";
  };
  put("verified   {} of the plan against {} of uniform {}: {} is kept\n", kl(0), kl(1),
      report.trials[0].plan.plan.best_uniform->scheme, report.kept == 0 ? "the plan" : "the uniform one");
}

/// What makes no sense is said before anything is opened.
void check_usage(const Options& options, const CLI::App& command) {
  const MethodRequest& request = options.method.request;
  const int sources =
      !options.plan_path.empty() + request.uniform.has_value() + request.has_budget() + request.max_loss.has_value();
  if (sources != 1) {
    throw Error(ErrorCode::usage, "quantize", sources == 0 ? "no budget" : "more than one of budget, --plan, --uniform",
                "one of --bits, --size, --vram, --max-loss, --plan or --uniform");
  }
  refuse_unused(command, mode_of(options));
  if (request.has_budget()) request.budget();
}

/// The plan as it was written to a file.
Quantized carry_out(const Model& model, PlanFile plan, const Options& options, const WriteOptions& write,
                    const CommonOptions& common, Forecast& needs) {
  Quantized result;
  result.plan = std::move(plan);
  needs = announce_plan("quantize", model, result.plan, options.output);
  result.written = quantize_model(model, options.output, result.plan, write, common.progress().get());
  return result;
}

Quantized plan_and_quantize(const Model& model, const Options& options, const WriteOptions& write,
                            const CommonOptions& common, Forecast& needs) {
  QuantizeJob job{options.method.request, {}, write};
  if (!options.text.empty()) job.trial_text = read_text(options.text);
  const Method method = resolve(model, job.request);
  say_method(model, job.request, method);
  job.on_measured = [&](const PlanningProblem& problem) { say_problem(method, problem); };
  std::optional<ScoredText> text;
  if (job.trial_text) {
    text = text_of_bytes(std::ssize(*job.trial_text), trial_text_cut());
  }
  needs = announce_job("quantize", model, job.request, method, Job::quantize, options.output, text);
  job.on_plan = [&](const PlanningProblem& problem, const PlanFile& plan) {
    if (!common.json) print_plan(plan.plan, problem.table());
  };
  const Quantized result = quantize(model, options.output, method, job, common.progress().get());
  if (common.json) return result;
  if (job.request.max_loss) {
    print_plan(result.plan.plan, result.problem.table());
    print_trials(*result.trials, Objective::kl);
  } else if (job.request.verify) {
    print_verdict(*result.trials, result.plan);
  }
  return result;
}

nlohmann::ordered_json seconds_json(const Quantized& result) {
  return {{"measure", result.problem.seconds},
          {"plan", result.trials ? result.trials->trials.front().plan.plan.seconds : result.plan.plan.seconds},
          {"quantize", result.written.seconds}};
}

void print_json(const Quantized& result, const Coverage& coverage, const Forecast& needs) {
  auto json = nlohmann::ordered_json::parse(write_plan(result.plan));
  for (const Trial& trial : result.trials ? result.trials->trials : std::vector<Trial>()) {
    nlohmann::ordered_json entry{{"bits_per_parameter", trial.plan.plan.bits_per_parameter},
                                 {"predicted", trial.plan.plan.value}};
    if (trial.not_finite.empty()) {
      entry["kl"] = trial.comparison.kl.mean;
      entry["ln_ppl_ratio"] = trial.comparison.kl.ln_ppl_ratio;
      entry["loss"] = trial.loss;
    } else {
      entry["not_finite"] = trial.not_finite;
    }
    json["trials"].push_back(std::move(entry));
  }
  json["files"] = result.written.files;
  json["coverage"] = coverage_json(coverage);
  json["seconds"] = seconds_json(result);
  json["peak_rss_bytes"] = peak_rss_bytes();
  json["forecast"] = {
      {"seconds", needs.seconds}, {"memory_bytes", needs.memory_bytes}, {"disk_bytes", needs.disk_bytes}};
  put_json(json);
}

void print_summary(const Model& model, const Options& options, const Quantized& result, const Coverage& coverage) {
  const PlanFile& file = result.plan;
  const WriteReport& report = result.written;
  int64_t after = 0;
  for (const auto& [name, size] : report.files) {
    for (const char* ending : {".safetensors", ".gguf", ".onnx", ".onnx.data"}) {
      if (name.ends_with(ending)) after += size;
    }
  }
  const WeightBytes before = weight_bytes(model);
  const double weights = 8 * static_cast<double>(file.plan.bytes) / file.plan.bits_per_parameter;
  const auto half = static_cast<int64_t>(2 * weights);
  put("matrices   {}; {} in fp16, so {:.2f} x smaller\n", format_size(report.matrix_bytes), format_size(half),
      static_cast<double>(half) / static_cast<double>(report.matrix_bytes));
  put("all        {} in {}; as it was: {}, all in fp16: {}\n", format_size(after), options.output,
      format_size(before.stored), format_size(2 * before.weights));
  print_coverage(coverage);
  put("time       measure {:.1f} s, plan {:.3f} s, quantize {:.1f} s; peak memory {}\n", result.problem.seconds,
      file.plan.seconds, report.seconds, format_size(peak_rss_bytes()));
}

void run(Options& options, const CLI::App& command, const CommonOptions& common) {
  check_usage(options, command);
  WriteOptions& write = options.write;
  write.inputs = options.method.inputs(options.model);
  write.inputs.push_back({"the plan", options.plan_path});
  write.inputs.push_back({"the text", options.text});
  write.cache = options.method.cache();
  const MethodRequest& request = options.method.request;
  std::optional<PlanFile> plan;
  if (!options.plan_path.empty()) plan = read_plan(read_file(options.plan_path), options.plan_path);
  const std::string format = plan ? plan->format : request.format.value_or(Method().format);
  if (request.verify || request.max_loss) {
    check_trial_output(options.model, options.output, write, format);
  } else {
    check_output(options.model, options.output, write, format);
  }
  const Model model(options.model);
  model.run_packed(options.method.packed);
  say_remarks(model);
  Forecast needs;
  const Quantized result = plan ? carry_out(model, std::move(*plan), options, write, common, needs)
                                : plan_and_quantize(model, options, write, common, needs);
  for (const auto& note : result.written.notes) spdlog::warn("{}", note);
  // Where sensitivities were measured, that has been said.
  if (!result.problem.sensitivities) warn_of_degenerate_text(result.written.sample);
  const Coverage coverage = plan_coverage(model, result.plan.plan);
  warn_of_coverage(coverage, request.bits.has_value());
  if (common.json) {
    print_json(result, coverage, needs);
  } else {
    print_summary(model, options, result, coverage);
  }
}

}  // namespace

void add_quantize(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("quantize", "fit a model into a budget: measure, plan, write the checkpoint");
  command->add_option("MODEL", options->model, "folder of safetensors or .bin, or a .safetensors, .gguf or .pth file")
      ->required();
  command->add_option("-o,--output", options->output, "checkpoint folder, or .gguf file, to write")
      ->type_name("OUT")
      ->required();
  command->add_option("--plan", options->plan_path, "carry out this plan (of mxq plan) instead of a budget")
      ->type_name("FILE");
  command
      ->add_option("--text", options->text,
                   "text that --max-loss and --verify measure on (default: text that the model samples)")
      ->type_name("FILE");
  command->add_flag("--overwrite", options->write.overwrite,
                    "replace OUT, where mxq wrote it and it holds nothing else");
  command
      ->add_option_function<std::string>(
          "--shard-bytes",
          [options](const std::string& size) {
            options->write.max_shard_bytes = size_of_option("--shard-bytes", size);
          },
          "bytes of tensors in one weight file, its header not counted; a larger matrix has a file of its own")
      ->type_name("SIZE")
      ->default_str("5GB");
  add_method(*command, options->method,
             {FieldGroup::bits, FieldGroup::bytes, FieldGroup::goal, FieldGroup::choice, FieldGroup::trial,
              FieldGroup::schemes, FieldGroup::matrix, FieldGroup::text});
  command->callback([options, command, &common] { run(*options, *command, common); });
}

}  // namespace mxq::cli
