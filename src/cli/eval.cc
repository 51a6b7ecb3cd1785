#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/model_remarks.h"
#include "cli/option_modes.h"
#include "cli/say_forecast.h"
#include "cli/standard_streams.h"
#include "mxq/error.h"
#include "mxq/evaluate.h"
#include "mxq/files.h"
#include "mxq/output.h"
#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string model, against, base_logits, text;
  bool self = false;
  PerplexityOptions perplexity;
  // Not the seed of --sample-seed: a plan should not be judged by the text that it was made on.
  SelfText self_text{.sampling = {.seed = 1}};
};

nlohmann::ordered_json to_json(const Perplexity& result, std::string_view recipe) {
  return {{"perplexity", result.perplexity},
          {"nll", result.nll},
          {"tokens", result.tokens},
          {"windows", result.windows},
          {"seconds", result.seconds},
          {"tokens_per_second", result.tokens_per_second},
          {"peak_rss_bytes", peak_rss_bytes()},
          {"weight_bytes", result.weight_bytes},
          {"standard_error", result.standard_error},
          {"recipe", recipe}};
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

/// `window`: the tokens of each; 0 where there is no one length.
void print(const Perplexity& result, int64_t window) {
  put("perplexity {:.4f} +- {:.4f} on {} tokens in {} windows{}\n", result.perplexity, result.standard_error,
      result.tokens, result.windows, window > 0 ? fmt::format(" of {}", window) : "");
}

void print(const Comparison& result) {
  const Divergence& kl = result.kl;
  put("base       {:.4f} +- {:.4f}; ln of the ratio {:.5f} +- {:.5f}\n", result.base.perplexity,
      result.base.standard_error, kl.ln_ppl_ratio, kl.ln_ppl_ratio_error);
  put("KL         mean {:.5f} +- {:.5f}, median {:.5f}, 99th percentile {:.5f}, largest {:.5f}\n", kl.mean,
      kl.mean_error, kl.median, kl.p99, kl.max);
  put("top token  the same in {:.2f} +- {:.2f} %\n", 100 * kl.top1_agreement, 100 * kl.top1_error);
}

void print_cost(const Perplexity& result) {
  put("time       {:.1f} s, {:.0f} tokens a second; weights {}, peak memory {}\n", result.seconds,
      result.tokens_per_second, format_size(result.weight_bytes), format_size(peak_rss_bytes()));
}

struct Result {
  Perplexity perplexity;
  std::optional<Comparison> comparison;
  int64_t window = 0;
};

/// The recipe's own window, or the model's context where that is shorter.
int64_t default_window(const Model& model, const PerplexityOptions& options) {
  const int64_t longest = model_bytes(model).max_context, usual = window_of(options);
  return longest >= 2 ? std::min(longest, usual) : usual;
}

/// What the model is compared with; the model itself where there is no other.
Model base_of(const Model& model, const Options& options) {
  return options.against.empty() ? model : Model(options.against);
}

/// Announces what scoring takes, as far as the models' configurations tell.
void announce_scoring(const Model& model, const Model& base, const Options& options, ScoredText text) {
  if (model.why_not_runnable() || base.why_not_runnable()) return;  // said where it is run
  text.against = !options.against.empty();
  std::error_code unknown;
  text.keeps_logits = !options.base_logits.empty();
  text.known_logits = text.keeps_logits && std::filesystem::exists(options.base_logits, unknown);
  announce("eval", forecast_evaluation(model, base, text, options.perplexity.run, measure_speed()),
           options.base_logits);
}

Result evaluate_text(Options options, Progress* progress) {
  const std::string text = read_text(options.text);
  const Model model(options.model);
  say_remarks(model);
  int64_t& window = options.perplexity.window;
  if (window == 0) {
    window = default_window(model, options.perplexity);
  } else {
    warn_of_long_context(model, window);
  }
  const Model base = base_of(model, options);
  announce_scoring(model, base, options, text_of_bytes(std::ssize(text), options.perplexity));
  if (options.against.empty()) return {measure_perplexity(model, text, options.perplexity, progress), {}, window};
  const auto comparison = compare_models(model, base, text, options.perplexity, progress, options.base_logits);
  return {comparison.model, comparison, window};
}

Result evaluate_self(Options options, Progress* progress) {
  if (options.perplexity.max_tokens != 0) options.self_text.tokens = options.perplexity.max_tokens;
  const Model model(options.model);
  say_remarks(model);
  warn_of_long_context(model, options.self_text.tokens);
  const Model base = base_of(model, options);
  announce_scoring(model, base, options, sampled_text(options.self_text));
  const RunOptions& run = options.perplexity.run;
  if (options.against.empty()) return {measure_perplexity(model, options.self_text, run, progress), {}};
  const auto comparison = compare_models(model, base, options.self_text, run, progress);
  return {comparison.model, comparison};
}

void run(const Options& options, const CommonOptions& common) {
  if (!options.self && options.text.empty()) {
    throw Error(ErrorCode::usage, "eval", "nothing to score",
                "--text FILE, or --self for text that the model itself samples");
  }
  if (!options.base_logits.empty()) {
    OutputFile(options.base_logits, kLogitFile,
               {{"the model", options.model}, {"the base", options.against}, {"the text", options.text}});
  }
  const auto progress = common.progress();
  const auto [result, comparison, window] =
      options.self ? evaluate_self(options, progress.get()) : evaluate_text(options, progress.get());
  if (!result.sample_note.empty()) spdlog::warn("{}", result.sample_note);
  if (common.json) {
    auto json = to_json(result, options.self ? "self" : recipe_name(options.perplexity.recipe));
    if (window > 0) json["window"] = window;
    if (!result.sample_note.empty()) json["sample_note"] = result.sample_note;
    if (comparison) json["kl"] = to_json(*comparison);
    put_json(json);
    return;
  }
  print(result, window);
  if (comparison) print(*comparison);
  print_cost(result);
}

CLI::Range within(const PerplexityOptions::Limits& limits) {
  return CLI::Range(limits.least, limits.most);
}

}  // namespace

void add_eval(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand(
      "eval", "measure the perplexity of a model on a text, and what the model lost against another");
  command
      ->add_option("MODEL", options->model,
                   "folder of safetensors or .bin, mxq checkpoint, folder of --format, .gguf or .pth")
      ->required();
  auto* against =
      command
          ->add_option("--against", options->against,
                       "compare with the model that MODEL was made from: KL divergence, top-1 agreement, ...")
          ->type_name("BASE");
  auto* base_logits =
      command
          ->add_option(
              "--base-logits", options->base_logits,
              "keep BASE's logits in this file, 4 bytes for each token and word of the vocabulary; where the file "
              "is there already, BASE is not run again")
          ->type_name("FILE")
          ->needs(against);
  auto* self = command
                   ->add_flag("--self", options->self,
                              "score text that BASE (or MODEL, without BASE) samples itself: no data needed")
                   ->excludes(base_logits);
  auto* text = command->add_option_group("Text");
  text->add_option("--text", options->text,
                   "UTF-8 text to score, or .jsonl rows with a \"text\" each; - for standard input")
      ->type_name("FILE")
      ->excludes(self);
  constexpr const char* kRecipe = "--recipe";
  text->add_option_function<std::string>(
          kRecipe,
          [options](const std::string& name) {
            at_flag(kRecipe, [&] { options->perplexity.recipe = parse_recipe(name); });
          },
          "hf: windows overlap, and every token counts; llama.cpp: as llama-perplexity does it")
      ->type_name("hf|llama.cpp")
      ->excludes(self)
      ->default_str(std::string(recipe_name(options->perplexity.recipe)));
  text->add_option("--window", options->perplexity.window,
                   "tokens that the model sees at a time (default 1024; llama.cpp 512; at most the model's context)")
      ->type_name("N")
      ->excludes(self)
      ->check(within(PerplexityOptions::kWindow));
  text->add_option("--stride", options->perplexity.stride,
                   "tokens from one window to the next (default: half a window)")
      ->type_name("N")
      ->excludes(self)
      ->check(within(PerplexityOptions::kStride));
  command
      ->add_option("--tokens", options->perplexity.max_tokens,
                   "score only the first N tokens of the text; with --self, sample N tokens a sequence (default 256)")
      ->type_name("N")
      ->check(within(PerplexityOptions::kTokens));
  command->add_option("--sequences", options->self_text.sequences, "number of texts that --self samples")
      ->type_name("N")
      ->needs(self)
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  for (auto* option : add_sampling(*command, options->self_text.sampling)) option->needs(self);
  add_run(*command, options->perplexity.run);
  command->callback([options, command, &common] {
    const bool greedy = options->self_text.sampling.temperature == 0;
    refuse_unused(*command, !options->self ? Mode::eval_text : greedy ? Mode::eval_self_greedy : Mode::eval_self);
    run(*options, common);
  });
}

}  // namespace mxq::cli
