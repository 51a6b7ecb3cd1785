#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "mxq/evaluate.h"
#include "mxq/files.h"
#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string model, text;
  PerplexityOptions perplexity;
};

void run(const Options& options, const CommonOptions& common) {
  const PerplexityOptions& perplexity = options.perplexity;
  const auto result = measure_perplexity(options.model, read_file(options.text), perplexity, common.progress().get());
  if (common.json) {
    const nlohmann::ordered_json json{{"perplexity", result.perplexity},
                                      {"nll", result.nll},
                                      {"tokens", result.tokens},
                                      {"windows", result.windows},
                                      {"seconds", result.seconds},
                                      {"tokens_per_second", result.tokens_per_second},
                                      {"peak_rss_bytes", peak_rss_bytes()},
                                      {"weight_bytes", result.weight_bytes}};
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("perplexity {:.4f} on {} tokens ({} windows of {}, stride {})\n", result.perplexity, result.tokens,
             result.windows, perplexity.window, perplexity.stride);
  fmt::print("time       {:.1f} s, {:.0f} tokens a second; weights {}, peak memory {}\n", result.seconds,
             result.tokens_per_second, format_size(result.weight_bytes), format_size(peak_rss_bytes()));
}

}  // namespace

void add_eval(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("eval", "perplexity of a model or checkpoint on a text");
  command->add_option("MODEL", options->model, "folder of safetensors, mxq checkpoint or .gguf")->required();
  command->add_option("--text", options->text, "UTF-8 text to score")->type_name("FILE")->required();
  command->add_option("--tokens", options->perplexity.max_tokens, "only the first N tokens, for a quick figure")
      ->type_name("N")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 40));
  command->add_option("--window", options->perplexity.window, "tokens that the model sees at a time")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--stride", options->perplexity.stride, "tokens from one window to the next")
      ->type_name("N")
      ->capture_default_str();
  add_run(*command, options->perplexity.run);
  command->callback([options, &common] { run(*options, common); });
}

}  // namespace mxq::cli
