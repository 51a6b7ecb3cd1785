#include "mxq/generate.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/model_remarks.h"
#include "cli/option_modes.h"
#include "cli/say_forecast.h"
#include "cli/standard_streams.h"
#include "mxq/budget.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/runtime.h"
#include "mxq/text.h"
#include "mxq/tokenizer.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string model, prompt, prompt_file;
  GenerateOptions generate;
};

/// Says what is beyond the model's context, and refuses what no memory holds.
void check_length(const Model& opened, const Options& options, const std::string& prompt) {
  const ModelBytes model = model_bytes(opened);
  // A token has at least a byte: most prompts need not be tokenized for this.
  const int64_t most = std::ssize(prompt) + options.generate.max_tokens;
  if (most <= model.max_context) return;
  const int64_t tokens = std::ssize(opened.tokenizer().encode(prompt));
  if (tokens + options.generate.max_tokens > model.max_context && model.max_context > 0) {
    spdlog::warn("a prompt of {} tokens and {} more are beyond the {} that the model was made for", tokens,
                 options.generate.max_tokens, model.max_context);
  }
  // Counted there in fp16; the runner keeps fp32.
  const int64_t cache = 2 * model.kv_per_token * tokens, memory = total_memory_bytes();
  if (memory > 0 && cache > memory) {
    throw Error(ErrorCode::infeasible, "generate",
                fmt::format("{} of keys and values for a prompt of {} tokens", format_size(cache), tokens),
                fmt::format("at most the {} of memory of this machine", format_size(memory)));
  }
}

void run(const Options& options, const CommonOptions& common) {
  const std::string prompt = options.prompt_file.empty() ? options.prompt : read_text(options.prompt_file);
  const Model model(options.model);
  say_remarks(model);
  check_length(model, options, prompt);
  if (!model.why_not_runnable()) {
    // A token is some letters; the end of the text may come earlier.
    const int64_t length = 1 + std::ssize(prompt) / 4;
    announce("generate",
             forecast_generation(model, length, options.generate.max_tokens, options.generate.run, measure_speed()));
  }
  const auto show = [&](std::string_view text) {
    if (common.json) return;
    put_data(text);
    flush_output();
  };
  const auto result = generate(model, prompt, options.generate, show, common.progress().get());
  const auto tokens = static_cast<double>(result.ids.size());
  // The first token comes with the prompt.
  const double speed = result.seconds > 0 ? (tokens - 1) / result.seconds : 0;
  if (common.json) {
    const nlohmann::ordered_json json{
        {"text", result.text},         {"ids", result.ids},         {"prompt_tokens", result.prompt_tokens},
        {"tokens", result.ids.size()}, {"ended", result.ended},     {"prompt_seconds", result.prompt_seconds},
        {"seconds", result.seconds},   {"tokens_per_second", speed}};
    put_json(json);
    return;
  }
  put("\n");
  flush_output();
  if (!common.quiet) {
    say(fmt::format("mxq: prompt of {} tokens in {:.2f} s, then {} tokens, {:.0f} a second\n", result.prompt_tokens,
                    result.prompt_seconds, result.ids.size(), speed));
    if (result.ended) {
      say(fmt::format("mxq: the model ended the text with token {} after {} others\n", result.ids.back(),
                      result.ids.size() - 1));
    }
  }
  if (result.has_chat_template) {
    spdlog::warn(
        "the model has a template for chats, which is not applied: spell out its special tokens in the prompt");
  }
}

}  // namespace

void add_generate(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("generate", "print the text that a model or checkpoint writes, as it comes");
  command
      ->add_option("MODEL", options->model,
                   "folder of safetensors or .bin, mxq checkpoint, folder of --format, .gguf or .pth")
      ->required();
  auto* prompt = command->add_option("--prompt", options->prompt, "text to continue, with special tokens spelt out")
                     ->type_name("TEXT");
  command->add_option("--prompt-file", options->prompt_file, "read the prompt from a file; - for standard input")
      ->type_name("FILE")
      ->excludes(prompt);
  command
      ->add_option("--tokens", options->generate.max_tokens,
                   "stop after N tokens, where the model does not end the text before")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  add_sampling(*command, options->generate.sampling);
  add_run(*command, options->generate.run);
  command->callback([options, command, &common] {
    const bool greedy = options->generate.sampling.temperature == 0;
    refuse_unused(*command, greedy ? Mode::generate_greedy : Mode::generate_sampled);
    run(*options, common);
  });
}

}  // namespace mxq::cli
