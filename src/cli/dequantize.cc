#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/model_remarks.h"
#include "cli/option_modes.h"
#include "cli/standard_streams.h"
#include "mxq/quantize_model.h"
#include "mxq/text.h"

namespace mxq::cli {

void add_dequantize(CLI::App& app, const CommonOptions& common) {
  struct Options {
    std::string model, output, dtype;
    WriteOptions write;
  };
  auto options = std::make_shared<Options>();
  auto* command =
      app.add_subcommand("dequantize", "write plain Hugging Face safetensors again, which transformers loads");
  command->add_option("MODEL", options->model, "a checkpoint that quantize wrote (or any other model)")->required();
  command->add_option("-o,--output", options->output, "folder to write")->type_name("DIR")->required();
  command
      ->add_option("--dtype", options->dtype,
                   "dtype of all weights: f32, f16 or bf16 (default: the dtype that each had before it was quantized)")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->type_name("T");
  command->add_flag("--overwrite", options->write.overwrite,
                    "replace DIR, where mxq wrote it and it holds nothing else");
  command->callback([options, command, &common] {
    refuse_unused(*command, Mode::always);
    std::optional<DType> dtype;
    if (options->dtype == "f32") dtype = DType::f32;
    if (options->dtype == "f16") dtype = DType::f16;
    if (options->dtype == "bf16") dtype = DType::bf16;
    const Model model(options->model);
    say_remarks(model);
    const auto report = dequantize_model(model, options->output, dtype, options->write, common.progress().get());
    int64_t bytes = 0;
    for (const auto& [name, size] : report.files) bytes += size;
    for (const auto& note : report.notes) spdlog::warn("{}", note);
    spdlog::info("{}: {} files, {} in {:.1f} s", options->output, report.files.size(), format_size(bytes),
                 report.seconds);
    if (common.json) {
      put_json(nlohmann::ordered_json{{"files", report.files}, {"seconds", report.seconds}});
    }
  });
}

}  // namespace mxq::cli
