#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/option_modes.h"
#include "cli/standard_streams.h"
#include "mxq/files.h"
#include "mxq/tokenizer.h"

namespace mxq::cli {

void add_tokenize(CLI::App& app, const CommonOptions& common) {
  struct Options {
    std::string model, text;
    bool no_bos = false;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("tokenize", "print the token ids of a text, blank-separated on one line");
  command->add_option("MODEL", options->model, "folder with tokenizer.json, or .gguf (without tensors will do)")
      ->required();
  command->add_option("--text", options->text, "UTF-8 text, or .jsonl rows with a \"text\" each; - for standard input")
      ->type_name("FILE")
      ->required();
  command->add_flag("--no-bos", options->no_bos, "add no BOS or EOS token, even where the model wants one");
  command->callback([options, command, &common] {
    refuse_unused(*command, Mode::always);
    const auto tokenizer = open_tokenizer(options->model);
    if (const std::string remark = tokenizer->remark(); !remark.empty()) spdlog::warn("{}", remark);
    EncodeOptions encode;
    encode.add_bos = encode.add_eos = !options->no_bos;
    const auto progress = common.progress();
    encode.progress = progress.get();
    const auto ids = tokenizer->encode(read_text(options->text), encode);
    if (common.json) {
      put_json(nlohmann::ordered_json{{"ids", ids}, {"tokens", ids.size()}}, -1);
    } else {
      put("{}\n", fmt::join(ids, " "));
    }
  });
}

}  // namespace mxq::cli
