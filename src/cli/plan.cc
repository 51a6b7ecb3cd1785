#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/model_remarks.h"
#include "cli/plan_model.h"
#include "cli/print_plan.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/plan_file.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string model, errors, output, frontier;
  int grid = 200;
  MethodOptions method;
  BudgetOptions budget;
  PlanOptions plan;
};

void write_frontier(const ErrorTable& table, const Options& options, const AllocateOptions& allocate_options) {
  std::string csv = "bytes,bits_per_parameter,objective,convex\n";
  for (const auto& point : frontier(table, options.grid, allocate_options)) {
    csv += fmt::format("{},{},{},{}\n", point.bytes, point.bits_per_parameter, point.value, point.convex ? 1 : 0);
  }
  write_file(options.frontier, csv);
}

Problem problem_of_table(const ErrorTable& table, const std::optional<Budget>& budget, const PlanOptions& plan,
                         Objective objective) {
  Problem problem{plan.allocate(), 0, {}};
  problem.options.objective = objective;
  if (!budget) return problem;
  if (budget->kind == Budget::Kind::size || budget->kind == Budget::Kind::vram) {
    throw Error(ErrorCode::usage, "plan", "--size or --vram with --errors", "they need the MODEL; --bits does not");
  }
  problem.budget_bytes = matrix_budget_of(*budget, table, problem.options, {});
  return problem;
}

void run(const Options& options, const CommonOptions& common) {
  if (options.model.empty() == options.errors.empty()) {
    throw Error(ErrorCode::usage, "plan",
                options.model.empty() ? "neither MODEL nor --errors" : "both MODEL and --errors", "one of the two");
  }
  if (!options.budget.given() && options.frontier.empty()) {
    throw Error(ErrorCode::usage, "plan", "no budget", "--bits, --size or --vram (or --frontier FILE)");
  }
  const std::optional<Budget> budget = options.budget.given() ? std::optional(options.budget.budget()) : std::nullopt;
  options.plan.allocate();  // what is wrong is said before the model is measured
  ErrorTable table;
  PlanFile file;
  Problem problem;
  MethodChoice choice;
  if (options.errors.empty()) {
    say_remarks(options.model);
    choice = choose_method(options.model, options.method, options.plan.objective, options.budget.all_bytes());
    choice.check();  // likewise
    choice.method.calibrate(options.plan.sample_text);
    auto measured = measure_model(options.model, choice.method.measure(), common.progress().get());
    table = std::move(measured.table);
    problem = prepare_problem(options.model, budget, options.plan, choice, table, common, measured.seconds);
  } else {
    table = read_error_table(read_file(options.errors), options.errors);
    choice = choose_method(table, options.method, options.plan.objective);
    problem = problem_of_table(table, budget, options.plan, choice.objective);
  }
  file.quantize = choice.method.measure().quantize;
  file.calibration = choice.method.calibrate(options.plan.sample_text);
  if (!options.frontier.empty()) write_frontier(table, options, problem.options);
  if (!budget) return;
  file.plan = allocate(table, problem.budget_bytes, problem.options);
  const std::string json = write_plan(file);
  if (!options.output.empty()) write_file(options.output, json);
  if (common.json) {
    fmt::print("{}", json);
  } else {
    print_plan(file.plan, table);
  }
}

}  // namespace

void add_plan(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("plan", "choose a scheme for every matrix, proved optimal for the budget");
  command->add_option("MODEL", options->model, "folder of safetensors, .safetensors or .gguf");
  command->add_option("--errors", options->errors, "an error table instead of MODEL")->type_name("CSV");
  command->add_option("-o,--output", options->output, "the plan as JSON, for quantize --plan")->type_name("FILE");
  command->add_option("--frontier", options->frontier, "also write the frontier, loss against bytes, as CSV")
      ->type_name("FILE");
  command->add_option("--grid", options->grid, "exact plans on the frontier beside its convex corners")
      ->type_name("N")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  add_budget(*command, options->budget);
  add_plan_options(*command, options->plan);
  add_method(*command, options->method);
  command->callback([options, &common] { run(*options, common); });
}

}  // namespace mxq::cli
