#include "mxq/generate.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/model_remarks.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string model, prompt, prompt_file;
  GenerateOptions generate;
};

void run(const Options& options, const CommonOptions& common) {
  const std::string prompt = options.prompt_file.empty() ? options.prompt : read_text(options.prompt_file);
  say_remarks(options.model);
  warn_of_long_context(options.model, options.generate.max_tokens);
  const auto show = [&](std::string_view text) {
    if (common.json) return;
    fmt::print("{}", text);
    std::fflush(stdout);
  };
  const auto result = generate(options.model, prompt, options.generate, show, common.progress().get());
  const auto tokens = static_cast<double>(result.ids.size());
  // The first token comes with the prompt.
  const double speed = result.seconds > 0 ? (tokens - 1) / result.seconds : 0;
  if (common.json) {
    // A model may leave a character unfinished at the last token.
    const nlohmann::ordered_json json{
        {"text", result.text},         {"ids", result.ids},         {"prompt_tokens", result.prompt_tokens},
        {"tokens", result.ids.size()}, {"ended", result.ended},     {"prompt_seconds", result.prompt_seconds},
        {"seconds", result.seconds},   {"tokens_per_second", speed}};
    fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  fmt::print("\n");
  std::fflush(stdout);
  if (!common.quiet) {
    fmt::print(stderr, "mxq: prompt of {} tokens in {:.2f} s, then {} tokens, {:.0f} a second\n", result.prompt_tokens,
               result.prompt_seconds, result.ids.size(), speed);
  }
}

}  // namespace

void add_generate(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("generate", "text that a model or checkpoint writes, as it comes");
  command->add_option("MODEL", options->model, "folder of safetensors, mxq checkpoint or .gguf")->required();
  auto* prompt =
      command->add_option("--prompt", options->prompt, "what to continue, special tokens spelt out")->type_name("TEXT");
  command->add_option("--prompt-file", options->prompt_file, "the same from a file; - for standard input")
      ->type_name("FILE")
      ->excludes(prompt);
  command->add_option("--tokens", options->generate.max_tokens, "stop after N tokens, if the model has not before")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  add_sampling(*command, options->generate.sampling);
  add_run(*command, options->generate.run);
  command->callback([options, &common] { run(*options, common); });
}

}  // namespace mxq::cli
