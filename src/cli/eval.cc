#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "mxq/budget.h"
#include "mxq/evaluate.h"
#include "mxq/files.h"
#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string model, against, text, recipe = "hf";
  PerplexityOptions perplexity;
};

nlohmann::ordered_json to_json(const Perplexity& result, Recipe recipe) {
  return {{"perplexity", result.perplexity},
          {"nll", result.nll},
          {"tokens", result.tokens},
          {"windows", result.windows},
          {"seconds", result.seconds},
          {"tokens_per_second", result.tokens_per_second},
          {"peak_rss_bytes", peak_rss_bytes()},
          {"weight_bytes", result.weight_bytes},
          {"standard_error", result.standard_error},
          {"recipe", recipe_name(recipe)}};
}

nlohmann::ordered_json to_json(const Comparison& result) {
  const Divergence& kl = result.kl;
  return {{"mean", kl.mean},
          {"median", kl.median},
          {"p99", kl.p99},
          {"top1_agreement", kl.top1_agreement},
          {"ln_ppl_ratio", kl.ln_ppl_ratio},
          {"max", kl.max},
          {"mean_error", kl.mean_error},
          {"top1_error", kl.top1_error},
          {"ln_ppl_ratio_error", kl.ln_ppl_ratio_error},
          {"base_perplexity", result.base.perplexity},
          {"base_standard_error", result.base.standard_error},
          {"base_weight_bytes", result.base.weight_bytes}};
}

void print(const Perplexity& result) {
  fmt::print("perplexity {:.4f} +- {:.4f} on {} tokens in {} windows\n", result.perplexity, result.standard_error,
             result.tokens, result.windows);
}

void print(const Comparison& result) {
  const Divergence& kl = result.kl;
  fmt::print("base       {:.4f} +- {:.4f}; ln of the ratio {:.5f} +- {:.5f}\n", result.base.perplexity,
             result.base.standard_error, kl.ln_ppl_ratio, kl.ln_ppl_ratio_error);
  fmt::print("KL         mean {:.5f} +- {:.5f}, median {:.5f}, 99th percentile {:.5f}, largest {:.5f}\n", kl.mean,
             kl.mean_error, kl.median, kl.p99, kl.max);
  fmt::print("top token  the same in {:.2f} +- {:.2f} %\n", 100 * kl.top1_agreement, 100 * kl.top1_error);
}

void print_cost(const Perplexity& result) {
  fmt::print("time       {:.1f} s, {:.0f} tokens a second; weights {}, peak memory {}\n", result.seconds,
             result.tokens_per_second, format_size(result.weight_bytes), format_size(peak_rss_bytes()));
}

void warn_of_long_windows(const Options& options) {
  const int64_t longest = model_bytes(options.model).max_context;
  const int64_t window = window_of(options.perplexity);
  if (longest > 0 && window > longest) {
    spdlog::warn("windows of {} tokens are beyond the {} that the model was made for", window, longest);
  }
}

void run(Options options, const CommonOptions& common) {
  PerplexityOptions& perplexity = options.perplexity;
  perplexity.recipe = parse_recipe(options.recipe);
  const std::string text = read_text(options.text);
  warn_of_long_windows(options);
  const auto progress = common.progress();
  std::optional<Comparison> comparison;
  if (!options.against.empty()) {
    comparison = compare_models(options.model, options.against, text, perplexity, progress.get());
  }
  const Perplexity result =
      comparison ? comparison->model : measure_perplexity(options.model, text, perplexity, progress.get());
  if (common.json) {
    auto json = to_json(result, perplexity.recipe);
    if (comparison) json["kl"] = to_json(*comparison);
    fmt::print("{}\n", json.dump(2));
    return;
  }
  print(result);
  if (comparison) print(*comparison);
  print_cost(result);
}

}  // namespace

void add_eval(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("eval", "perplexity of a model on a text, and what it lost against another");
  command->add_option("MODEL", options->model, "folder of safetensors, mxq checkpoint or .gguf")->required();
  command->add_option("--against", options->against, "the model it was made from: KL divergence, top-1 agreement, ...")
      ->type_name("BASE");
  command
      ->add_option("--text", options->text,
                   "UTF-8 text to score, or .jsonl rows with a \"text\" each; - for standard input")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("--recipe", options->recipe,
                   "hf: overlapping windows, every token counts; llama.cpp: as llama-perplexity")
      ->type_name("hf|llama.cpp")
      ->capture_default_str();
  command->add_option("--tokens", options->perplexity.max_tokens, "only the first N tokens, for a quick figure")
      ->type_name("N")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 40));
  command
      ->add_option("--window", options->perplexity.window,
                   "tokens that the model sees at a time (default 1024; llama.cpp 512)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 30));
  command
      ->add_option("--stride", options->perplexity.stride,
                   "tokens from one window to the next (default: half a window)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  add_run(*command, options->perplexity.run);
  command->callback([options, &common] { run(*options, common); });
}

}  // namespace mxq::cli
