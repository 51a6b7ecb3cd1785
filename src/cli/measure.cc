#include "mxq/measure.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <string>

#include "cli/commands.h"
#include "cli/model_remarks.h"
#include "cli/plan_model.h"
#include "mxq/files.h"

namespace mxq::cli {

void add_measure(CLI::App& app, const CommonOptions& common) {
  struct Options {
    std::string model, output;
    MethodOptions method;
    bool sensitivity = false;
    SampleTextOptions sample_text;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("measure", "error table: what every scheme would lose on every matrix");
  command->add_option("MODEL", options->model, "folder of safetensors, .safetensors or .gguf")->required();
  command->add_option("-o,--output", options->output, "the table as CSV (default: standard output)")->type_name("FILE");
  command->add_flag("--sensitivity", options->sensitivity,
                    "also what errors in each matrix do to the outputs, for --objective kl");
  add_sample_text(*command, options->sample_text);
  add_method(*command, options->method);
  command->callback([options, &common] {
    const std::string objective{objective_name(options->sensitivity ? Objective::kl : Objective::rel)};
    say_remarks(options->model);
    const MethodChoice choice = choose_method(options->model, options->method, objective);
    choice.check();
    auto result = measure_model(options->model, choice.method.measure(), common.progress().get());
    if (options->sensitivity) {
      result.seconds +=
          measure_sensitivities(options->model, options->sample_text, choice.method, result.table, common).seconds;
    }
    const MethodOptions& method = choice.method;
    result.table.method = {method.fit, method.normalize, fmt::format("{}", method.axis), method.metadata};
    const std::string csv = write_error_table(result.table);
    if (!options->output.empty()) {
      write_file(options->output, csv);
    } else if (!common.json) {
      fmt::print("{}", csv);
    }
    spdlog::info("{} matrices measured in {:.1f} s ({} known from the cache)", result.table.matrices.size(),
                 result.seconds, result.matrices_from_cache);
    if (common.json) {
      const nlohmann::ordered_json json{{"matrices", result.table.matrices.size()},
                                        {"from_cache", result.matrices_from_cache},
                                        {"seconds", result.seconds}};
      fmt::print("{}\n", json.dump(2));
    }
  });
}

}  // namespace mxq::cli
