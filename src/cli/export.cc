#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <map>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/model_remarks.h"
#include "cli/option_modes.h"
#include "cli/standard_streams.h"
#include "mxq/export_model.h"
#include "mxq/text.h"

namespace mxq::cli {

void add_export(CLI::App& app, const CommonOptions& common) {
  struct Options {
    std::string model, output, format;
    std::vector<std::string> skip;
    WriteOptions write;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand(
      "export", "write a model that is quantized already in another file format, with the weights that it has");
  command->add_option("MODEL", options->model, "a quantized model that mxq reads")->required();
  command->add_option("--format", options->format, "the file format, as for quantize")->type_name("F")->required();
  command->add_option("-o,--output", options->output, "file or folder to write")->type_name("OUT")->required();
  command->add_option("--skip", options->skip, "writes matrices whose name the regular expression finds as floats")
      ->type_name("REGEX");
  command->add_flag("--overwrite", options->write.overwrite, "replace OUT, where mxq wrote it");
  command->callback([options, command, &common] {
    refuse_unused(*command, Mode::always);
    const Model model(options->model);
    say_remarks(model);
    const ExportReport report =
        export_model(model, options->output, options->format, options->skip, options->write, common.progress().get());
    int64_t bytes = 0;
    for (const auto& [name, size] : report.written.files) bytes += size;
    std::map<std::string, int64_t> schemes;
    for (const auto& matrix : report.plan.plan.matrices) ++schemes[matrix.scheme];
    for (const auto& note : report.written.notes) spdlog::warn("{}", note);
    for (const auto& [scheme, count] : schemes) spdlog::info("{:10} {} matrices", scheme, count);
    spdlog::info("{}: {} in {:.1f} s; matrices changed by at most {:.4f} % of their norm, as scales were rounded",
                 options->output, format_size(bytes), report.written.seconds, 100 * report.largest_change);
    if (common.json) {
      put_json(nlohmann::ordered_json{{"format", options->format},
                                      {"schemes", schemes},
                                      {"largest_change", report.largest_change},
                                      {"files", report.written.files},
                                      {"notes", report.written.notes},
                                      {"seconds", report.written.seconds}});
    }
  });
}

}  // namespace mxq::cli
