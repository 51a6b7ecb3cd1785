#include "mxq/measure.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/commands.h"
#include "cli/model_remarks.h"
#include "cli/option_modes.h"
#include "cli/plan_model.h"
#include "cli/report_coverage.h"
#include "cli/say_forecast.h"
#include "cli/standard_streams.h"
#include "mxq/files.h"
#include "mxq/output.h"

namespace mxq::cli {

void add_measure(CLI::App& app, const CommonOptions& common) {
  struct Options {
    std::string model, output;
    MethodOptions method;
    bool sensitivity = false;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("measure", "write the error table: what every scheme would lose on every matrix");
  command->add_option("MODEL", options->model, "folder of safetensors or .bin, or a .safetensors, .gguf or .pth file")
      ->required();
  command->add_option("-o,--output", options->output, "the table as CSV (default: standard output)")->type_name("FILE");
  command->add_flag("--sensitivity", options->sensitivity,
                    "also measure what errors in each matrix do to the outputs, for --objective kl");
  add_method(*command, options->method, {FieldGroup::schemes, FieldGroup::matrix, FieldGroup::text});
  command->callback([options, command, &common] {
    refuse_unused(*command, options->sensitivity ? Mode::measure_sensitivity : Mode::measure_errors);
    std::optional<OutputFile> output;
    if (!options->output.empty()) {
      output.emplace(options->output, kErrorTableFile, options->method.inputs(options->model));
    }
    MethodRequest request = options->method.request;
    request.objective = options->sensitivity ? Objective::kl : Objective::rel;
    const Model model(options->model);
    model.run_packed(options->method.packed);
    say_remarks(model);
    const Method method = resolve(model, request);
    say_method(model, request, method);
    announce_job("measure", model, request, method, Job::measure);
    const auto progress = common.progress();
    auto problem = pose(model, request, method, options->method.cache(), progress.get());
    say_problem(method, problem);
    auto& result = problem.measured;
    result.table.method = table_method(method.quantize);
    const std::string csv = write_error_table(result.table);
    if (output) {
      output->write(csv);
    } else if (!common.json) {
      put_data(csv);
    }
    spdlog::info("{} matrices measured in {:.1f} s ({} known from the cache)", result.table.matrices.size(),
                 problem.seconds, result.matrices_from_cache);
    const Coverage coverage = model_coverage(model, method.matrices);
    if (!coverage.left.empty()) spdlog::info("{}", coverage.line());
    if (common.json) {
      const nlohmann::ordered_json json{{"matrices", result.table.matrices.size()},
                                        {"from_cache", result.matrices_from_cache},
                                        {"seconds", problem.seconds},
                                        {"coverage", coverage_json(coverage)}};
      put_json(json);
    }
  });
}

}  // namespace mxq::cli
