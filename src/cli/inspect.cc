#include "mxq/inspect.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/model_remarks.h"
#include "cli/option_modes.h"
#include "cli/report_coverage.h"
#include "cli/standard_streams.h"

namespace mxq::cli {

namespace {

nlohmann::ordered_json as_json(const ModelReport& report) {
  nlohmann::ordered_json matrices = nlohmann::ordered_json::array();
  for (const auto& m : report.matrices) {
    nlohmann::ordered_json percentiles;
    for (size_t i = 0; i < kPercentiles.size(); ++i) percentiles[fmt::format("{}", kPercentiles[i])] = m.percentiles[i];
    matrices.push_back({{"name", m.name},
                        {"rows", m.rows},
                        {"cols", m.cols},
                        {"dtype", m.dtype},
                        {"percentiles", percentiles},
                        {"kurtosis", m.kurtosis}});
  }
  return {{"architecture", report.architecture},
          {"parameters", report.parameters},
          {"matrices", matrices},
          {"coverage", coverage_json(report.coverage)}};
}

void print(const ModelReport& report) {
  put("{}: {:.1f} M parameters, {} matrices to quantize\n", report.architecture,
      static_cast<double>(report.parameters) / 1e6, report.matrices.size());
  print_coverage(report.coverage);
  put("\n");
  size_t width = 6;
  for (const auto& m : report.matrices) width = std::max(width, m.name.size());
  put("{:{}}  {:>13}  {:5}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>8}\n", "matrix", width, "N x K", "dtype", "min |w|",
      "99 %", "99.9 %", "99.99 %", "max |w|", "kurtosis");
  for (const auto& m : report.matrices) {
    put("{:{}}  {:>13}  {:5}  {:9.3g}  {:9.4g}  {:9.4g}  {:9.4g}  {:9.4g}  {:8.4g}\n", m.name, width,
        fmt::format("{} x {}", m.rows, m.cols), m.dtype, m.percentiles[0], m.percentiles[1], m.percentiles[2],
        m.percentiles[3], m.percentiles[4], m.kurtosis);
  }
}

}  // namespace

void add_inspect(CLI::App& app, const CommonOptions& common) {
  struct Options {
    std::string model;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("inspect", "list matrices: shapes, dtypes, percentiles of |w|, kurtosis");
  command->add_option("MODEL", options->model, "folder of safetensors or .bin, or a .safetensors, .gguf or .pth file")
      ->required();
  command->callback([options, command, &common] {
    refuse_unused(*command, Mode::always);
    const Model model(options->model);
    say_remarks(model);
    const auto report = inspect_model(model, common.progress().get());
    warn_of_coverage(report.coverage);
    if (common.json) {
      put_json(as_json(report));
    } else {
      print(report);
    }
  });
}

}  // namespace mxq::cli
