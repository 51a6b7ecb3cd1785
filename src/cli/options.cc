#include "cli/options.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>

#include "cli/progress_bar.h"
#include "mxq/error.h"
#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq::cli {

namespace {

int64_t size_option(const std::string& flag, const std::string& text, int64_t least = 1) {
  const auto bytes = parse_size(text);
  if (!bytes || *bytes < least) {
    throw Error(ErrorCode::usage, flag, fmt::format("'{}' is not a size{}", text, least > 0 ? " above 0" : ""),
                "a number with B, K, M, G, T (1024 each step), KiB, MiB, GiB, TiB (the same) or KB, MB, GB, TB (1000)");
  }
  return *bytes;
}

}  // namespace

std::unique_ptr<Progress> CommonOptions::progress() const {
  return make_progress_bar(!quiet);
}

void add_common(CLI::App& app, CommonOptions& common) {
  app.add_flag("-q,--quiet", common.quiet, "no progress bar, only results and errors");
  app.add_flag("--json", common.json, "the result as one JSON object on standard output");
  app.add_option("--threads", common.threads, "threads of parallel work (default: all cores)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  app.add_option("--log-level", common.log_level, "what to say on standard error: error, warn, info or debug")
      ->type_name("LEVEL")
      ->check(CLI::IsMember({"error", "warn", "info", "debug"}));
}

namespace {

void choose_fit(MethodOptions& method, const std::string& name) {
  const FitMethod chosen = parse_fit_method(name);
  method.fit = fit_name(chosen.fit);
  if (chosen.normalize) method.normalize = normalize_name(*chosen.normalize);
  if (chosen.metadata) method.metadata = metadata_name(*chosen.metadata);
  if (chosen.zero_point) method.zero_point = zero_point_name(*chosen.zero_point);
  if (chosen.order) method.column_order = column_order_name(*chosen.order);
}

}  // namespace

MeasureOptions MethodOptions::measure() const {
  MeasureOptions options;
  options.schemes = parse_schemes(schemes);
  options.quantize = {parse_fit(fit), axis, parse_metadata(metadata), parse_normalize(normalize)};
  options.matrices = matrices();
  options.cache = cache();
  return options;
}

std::filesystem::path MethodOptions::cache() const {
  return no_cache ? std::filesystem::path() : cache_folder();
}

InputPaths MethodOptions::inputs(const std::string& model) const {
  return {{"the model", model}, {"the calibration text", calibration}};
}

Calibration MethodOptions::calibrate(const SampleTextOptions& sample_text) const {
  const bool wants = parse_fit(fit) == Fit::gptq || parse_fit(fit) == Fit::awq;
  Calibration result;
  const std::string text = !calibration.empty() ? calibration : wants ? "self" : "none";
  if (text == "self") {
    result.text = Calibration::Text::self;
  } else if (text != "none") {
    result.text = Calibration::Text::file;
    result.file = text;
  }
  // The model samples both texts at once, in sequences of one length.
  if (result.text == Calibration::Text::self) result.tokens = sample_text.text().tokens;
  result.tokens = std::min(result.tokens, calibration_tokens);
  result.sequences = (calibration_tokens + result.tokens - 1) / result.tokens;
  result.sampling.seed = sample_text.seed;
  result.damping = damping;
  result.order = parse_column_order(column_order);
  result.zero_point = parse_zero_point(zero_point);
  check_calibration(result, measure().quantize);
  return result;
}

void add_method(CLI::App& command, MethodOptions& method) {
  auto* group = command.add_option_group("Method");
  group
      ->add_option_function<std::string>(
          "--fit", [&method](const std::string& fit) { choose_fit(method, fit); },
          "how codes, scale and zero are found: gptq (default with the objective kl and with --uniform, where the "
          "model can be "
          "run; see --calibration), mse (default elsewhere), hqq, awq or rtn; sinq: rtn with --normalize sinq, as "
          "published; autogptq: gptq with "
          "--normalize none --metadata f16 --zero-point symmetric --column-order diagonal")
      ->type_name("FIT");
  group
      ->add_option(
          "--schemes", method.schemes,
          "schemes to choose from, a comma list of: wide (b2,3,4,5,6,8 x g32,64,128), paper (without b5, b6), all "
          "(also g16, g256), families (" +
              fmt::format("{}", fmt::join(scheme_families(), ", ")) +
              "), schemes (default: wide, and gaussian where rows are rotated)")
      ->type_name("LIST");
  group->add_option("--axis", method.axis, "1: groups along the input dimension; 0: as the paper")
      ->check(CLI::IsMember({0, 1}))
      ->type_name("1|0")
      ->capture_default_str();
  group->add_option("--metadata", method.metadata, "how scale and zero are stored: q8, f16 or f32")
      ->type_name("M")
      ->capture_default_str();
  group
      ->add_option(
          "--normalize", method.normalize,
          "rotation: divide columns by scales found from the weights, then rotate rows, so that no weight stands out "
          "(default with gptq and mse); columns: the scales alone; sinq: SINQ's scales instead; or none")
      ->type_name("N");
  group
      ->add_option(
          "--calibration", method.calibration,
          "text whose activations gptq, awq and mse look at: self (sampled by the model: no data), FILE or none "
          "(default: self for gptq and awq)")
      ->type_name("TEXT");
  group->add_option("--calibration-tokens", method.calibration_tokens, "tokens of it")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->capture_default_str();
  group
      ->add_option("--damping", method.damping,
                   "of gptq: added to the diagonal of the inputs' second moments, as a share of its mean")
      ->type_name("D")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  group
      ->add_option("--column-order", method.column_order,
                   "of gptq: code columns from the left, or by falling diagonal (act-order; groups stay in place)")
      ->type_name("ORDER")
      ->capture_default_str();
  group
      ->add_option(
          "--zero-point", method.zero_point,
          "of gptq: scale and zero of a group by least squares (real), or from its range, as published: integer "
          "or symmetric")
      ->type_name("Z")
      ->capture_default_str();
  group->add_flag_function(
      "--embeddings,!--no-embeddings", [&method](int64_t count) { method.embeddings = count > 0; },
      "plan the embedding and the output matrix too (default with --size, --vram and --max-loss), or leave "
      "them as they are");
  group->add_option("--skip", method.skip, "leave matrices whose name the regular expression finds as they are")
      ->type_name("REGEX")
      ->take_all();
  group->add_flag("--no-cache", method.no_cache, "measure everything anew, remember nothing");
}

std::vector<CLI::Option*> add_sampling(CLI::App& command, Sampling& sampling) {
  auto* group = command.add_option_group("Sampling");
  return {
      group
          ->add_option("--temperature", sampling.temperature, "logits are divided by it; 0: the likeliest token always")
          ->type_name("T")
          ->capture_default_str(),
      group->add_option("--top-p", sampling.top_p, "draw only from the likeliest tokens that reach this probability")
          ->type_name("P")
          ->capture_default_str(),
      group->add_option("--seed", sampling.seed, "the same seed draws the same text")
          ->type_name("N")
          ->capture_default_str()};
}

void warn_of_long_context(const Model& model, int64_t tokens) {
  const int64_t longest = model_bytes(model).max_context;
  if (longest > 0 && tokens > longest) {
    spdlog::warn("{} tokens at a time are beyond the {} that the model was made for", tokens, longest);
  }
}

void add_run(CLI::App& command, RunOptions& run) {
  auto* group = command.add_option_group("Run");
  group->add_flag("--packed", run.packed, "keep the weights as the files hold them: less memory, slower");
  static const std::map<std::string, Compute> computes{
      {"f32", Compute::f32}, {"bf16", Compute::bf16}, {"auto", best_compute()}};
  group
      ->add_option_function<std::string>(
          "--compute", [&run](const std::string& name) { run.compute = computes.at(name); },
          "what matrix products take: f32, bf16 (faster with AMX or AVX-512), or auto: bf16 where the processor has it")
      ->type_name("C")
      ->check(CLI::IsMember({"f32", "bf16", "auto"}))
      ->default_str("f32");
}

Budget BudgetOptions::budget() const {
  const int kinds = bits.has_value() + size.has_value() + vram.has_value();
  if (kinds != 1) {
    throw Error(ErrorCode::usage, "budget", fmt::format("{} budgets given", kinds),
                "exactly one of --bits, --size, --vram");
  }
  if ((context || reserve) && !vram) {
    throw Error(ErrorCode::usage, "budget", "--context or --reserve without --vram", "--vram, which they belong to");
  }
  if (bits) return parse_bits_budget(*bits);
  Budget budget;
  if (size) {
    budget.kind = Budget::Kind::size;
    budget.bytes = size_option("--size", *size);
    return budget;
  }
  budget.kind = Budget::Kind::vram;
  budget.bytes = size_option("--vram", *vram);
  budget.context = context.value_or(4096);
  budget.reserve = reserve ? size_option("--reserve", *reserve, 0) : int64_t{512} << 20;
  return budget;
}

int64_t matrix_budget_of(const Budget& budget, const ErrorTable& table, const AllocateOptions& options,
                         const ModelBytes& model) {
  if (budget.kind == Budget::Kind::vram && model.max_context > 0 && budget.context > model.max_context) {
    spdlog::warn("--context {} is beyond the {} tokens that the model was made for", budget.context, model.max_context);
  }
  return matrix_budget(budget, table, options, model);
}

void add_budget(CLI::App& command, BudgetOptions& budget) {
  auto* group = command.add_option_group("Budget", "what the result may take; exactly one");
  group
      ->add_option("--bits", budget.bits,
                   "bits a weight over the quantized matrices: 3.25, or b3g64 for what that takes")
      ->type_name("B");
  group->add_option("--size", budget.size, "all weight files together: 4GiB")->type_name("SIZE");
  group->add_option("--vram", budget.vram, "weights + KV cache of --context tokens + --reserve")->type_name("SIZE");
  group->add_option("--context", budget.context, "tokens that the KV cache (fp16) must hold (default 4096)")
      ->type_name("TOKENS")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  group->add_option("--reserve", budget.reserve, "for activations and the runtime (default 512MiB)")->type_name("SIZE");
}

AllocateOptions PlanOptions::allocate() const {
  AllocateOptions options;
  if (!objective.empty()) options.objective = parse_objective(objective);
  options.solver = parse_solver(solver);
  options.min_bits = min_bits;
  for (const auto& pin : pins) {
    const size_t at = pin.rfind('=');
    if (at == std::string::npos || at == 0) {
      throw Error(ErrorCode::usage, "--pin", fmt::format("'{}'", pin), "REGEX=SCHEME, e.g. 'layers.0.=b8g32'");
    }
    options.pins.emplace_back(pin.substr(0, at), parse_scheme(pin.substr(at + 1)).name());
  }
  check_pins(options);
  for (const auto& list : ties) {
    for (auto& tie : split(list, ',')) options.ties.push_back(std::move(tie));
  }
  return options;
}

SelfText SampleTextOptions::text() const {
  return probe_text((tokens + kProbeSequences - 1) / kProbeSequences, {.seed = seed});
}

void add_sample_text(CLI::App& command, SampleTextOptions& text) {
  command
      .add_option("--sample-tokens", text.tokens,
                  "of kl: tokens that the model samples to measure on, in four sequences (those of --calibration self "
                  "are as long)")
      ->type_name("N")
      ->check(CLI::Range(kProbeSequences, int64_t{1} << 24))
      ->capture_default_str();
  command.add_option("--sample-seed", text.seed, "of kl and --calibration self: the same seed samples the same text")
      ->type_name("N")
      ->capture_default_str();
}

void add_plan_options(CLI::App& command, PlanOptions& plan) {
  auto* group = command.add_option_group("Plan");
  group
      ->add_option("--objective", plan.objective,
                   "what is minimised: kl (default where the model can be run), rel, f2 or f (the paper's)")
      ->type_name("O");
  add_sample_text(*group, plan.sample_text);
  group->add_option("--solver", plan.solver, "exact (ours) or highs (the paper's)")
      ->type_name("S")
      ->capture_default_str();
  group->add_option("--pin", plan.pins, "matrices that the regular expression finds take this scheme; the "
                                            "first of several that find a matrix wins, and --min-bits does not bind it")
      ->type_name("REGEX=SCHEME")
      ->take_all();
  group->add_option("--min-bits", plan.min_bits, "no scheme of fewer bits, but where --pin says so")->type_name("N")->check(CLI::Range(0, 8));
  group->add_option("--tie", plan.ties, "one scheme for matrices that a runtime fuses: qkv,gate_up")
      ->type_name("LIST")
      ->take_all();
}

}  // namespace mxq::cli
