// The options of a method: one entry each.
#include <fmt/format.h>

#include <algorithm>

#include "export/target.h"
#include "mxq/error.h"
#include "mxq/method.h"
#include "mxq/text.h"
#include "mxq/trials.h"

namespace mxq {

namespace {

using R = MethodRequest;
using O = QuantizeOptions;
using Text = const std::string&;

constexpr const char* kMethod = "method";  // callers put the option's name in its place
constexpr int64_t kMostTokens = int64_t{1} << 24;
constexpr int64_t kMostSweeps = 100;

[[noreturn]] void refuse(Text value, std::string allowed) {
  throw Error(ErrorCode::usage, kMethod, fmt::format("'{}'", value), std::move(allowed));
}

int64_t whole(Text value, int64_t least, int64_t most) {
  const auto number = parse_int(value);
  if (!number || *number < least || *number > most) {
    if (most == INT64_MAX) refuse(value, fmt::format("a whole number of {} or more", least));
    if (most == least + 1) refuse(value, fmt::format("{} or {}", least, most));
    refuse(value, fmt::format("a whole number from {} to {}", least, most));
  }
  return *number;
}

double number(Text value, double least, double most) {
  const auto found = parse_double(value);
  if (!found || *found < least || *found > most) refuse(value, fmt::format("a number from {} to {}", least, most));
  return *found;
}

bool truth(Text value) {
  if (value != "true" && value != "false") refuse(value, "true or false");
  return value == "true";
}

std::pair<std::string, std::string> pin(Text value) {
  const size_t at = value.rfind('=');
  if (at == std::string::npos || at == 0) refuse(value, "REGEX=SCHEME, e.g. 'layers.0.=b8g32'");
  AllocateOptions options;
  options.pins.emplace_back(value.substr(0, at), parse_scheme(value.substr(at + 1)).name());
  check_pins(options);  // the expression
  return options.pins.front();
}

/// The families, as `help` of schemes lists them.
const std::string& schemes_help() {
  static const std::string help = fmt::format(
      "schemes to choose from, a comma list of wide (b2,3,4,5,6,8 x g32,64,128), paper (without b5, b6), all (also "
      "g16, "
      "g256), families ({}), schemes (default: wide, and gaussian where rows are rotated)",
      fmt::join(scheme_families(), ", "));
  return help;
}

/// A member of a request that is empty where nobody gave it.
template <auto member>
bool is_given(const R& request) {
  if constexpr (requires { (request.*member).has_value(); }) {
    return (request.*member).has_value();
  } else {
    return !(request.*member).empty();
  }
}

std::vector<MethodField> make_fields() {
  using enum FieldGroup;
  using enum FieldNeeds;
  std::vector<MethodField> fields;
  fields.push_back({.name = "bits",
                    .group = bits,
                    .value = "B",
                    .help = "bits per parameter of the quantized matrices: 3.25, or b3g64 for the bytes that this "
                            "scheme would take",
                    .set = [](R& r, Text v) { r.bits = parse_bits_budget(v); },
                    .given = is_given<&R::bits>});
  fields.push_back({.name = "size",
                    .group = bytes,
                    .value = "SIZE",
                    .help = "size of all weight files together: 4GiB",
                    .set = [](R& r, Text v) { r.size = size_of_option(kMethod, v); },
                    .given = is_given<&R::size>});
  fields.push_back({.name = "vram",
                    .group = bytes,
                    .value = "SIZE",
                    .help = "what a GPU holds: weights, KV cache of --context tokens, and --reserve",
                    .set = [](R& r, Text v) { r.vram = size_of_option(kMethod, v); },
                    .given = is_given<&R::vram>});
  fields.push_back({.name = "context",
                    .group = bytes,
                    .value = "TOKENS",
                    .usual = "4096",
                    .help = "tokens that the KV cache (fp16) must hold",
                    .set = [](R& r, Text v) { r.context = whole(v, 1, int64_t{1} << 30); },
                    .given = is_given<&R::context>});
  fields.push_back({.name = "reserve",
                    .group = bytes,
                    .value = "SIZE",
                    .usual = "512MiB",
                    .help = "bytes kept free for activations and the runtime",
                    .set = [](R& r, Text v) { r.reserve = size_of_option(kMethod, v, 0); },
                    .given = is_given<&R::reserve>});
  fields.push_back({.name = "max-loss",
                    .group = goal,
                    .value = "LOSS",
                    .help = "sets a quality target instead of a size: the smallest checkpoint whose perplexity is at "
                            "most so much higher, 1% or 0.01",
                    .set = [](R& r, Text v) { r.max_loss = parse_max_loss(v); },
                    .given = is_given<&R::max_loss>});
  fields.push_back({.name = "uniform",
                    .group = goal,
                    .value = "SCHEME",
                    .help = "gives one scheme to all matrices instead of a budget",
                    .set = [](R& r, Text v) { r.uniform = parse_scheme(v); },
                    .given = is_given<&R::uniform>});

  fields.push_back({.name = "objective",
                    .group = choice,
                    .value = "O",
                    .help = "what the plan minimises: kl (the measured effect on the outputs; default where the "
                            "model can be run), rel, f2, or f (the paper's)",
                    .set = [](R& r, Text v) { r.objective = parse_objective(v); },
                    .given = is_given<&R::objective>});
  fields.push_back({.name = "solver",
                    .group = choice,
                    .value = "S",
                    .usual = "exact",
                    .help = "how the plan is found: exact (mxq's own) or highs (the paper's)",
                    .set = [](R& r, Text v) { r.solver = parse_solver(v); },
                    .given = is_given<&R::solver>});
  fields.push_back({.name = "pin",
                    .group = choice,
                    .value = "REGEX=SCHEME",
                    .help = "gives the scheme to all matrices whose name the regular expression finds. The first pin "
                            "that finds a matrix wins, over --min-bits too",
                    .several = true,
                    .set = [](R& r, Text v) { r.pins.push_back(pin(v)); },
                    .given = is_given<&R::pins>});
  fields.push_back({.name = "min-bits",
                    .group = choice,
                    .value = "N",
                    .help = "allows no scheme of fewer bits, except where --pin gives one",
                    .set = [](R& r, Text v) { r.min_bits = static_cast<int>(whole(v, 0, 8)); },
                    .given = is_given<&R::min_bits>});
  fields.push_back(
      {.name = "tie",
       .group = choice,
       .value = "LIST",
       .help = "gives one scheme to matrices that a runtime fuses: qkv, gate_up, experts (those of a role in a "
               "layer)",
       .several = true,
       .set =
           [](R& r, Text v) {
             for (auto& tie : split(v, ',')) r.ties.push_back(std::move(tie));
             r.constraints();  // names that nobody knows
           },
       .given = is_given<&R::ties>});
  fields.push_back({.name = "verify",
                    .group = trial,
                    .help = "also carries out the best uniform plan of the budget, and keeps the better one by trial",
                    .set = [](R& r, Text v) { r.verify = truth(v); },
                    .given = [](const R& r) { return r.verify; }});
  fields.push_back({.name = "schemes",
                    .group = schemes,
                    .value = "LIST",
                    .help = schemes_help(),
                    .set = [](R& r, Text v) { r.schemes = parse_schemes(v); },
                    .given = is_given<&R::schemes>});

  fields.push_back(
      {.name = "format",
       .group = matrix,
       .value = "F",
       .usual = "mxq",
       .help = "file format: mxq (a folder, the checkpoint of docs/reference/checkpoint.md), gguf (a file that "
               "llama.cpp, ollama and LM Studio run), mlx (a folder that mlx-lm and LM Studio run on Apple "
               "silicon), compressed-tensors (a folder that vLLM and transformers run), gptq (one that GPTQModel and "
               "vLLM run), awq (one that vLLM, transformers and GPTQModel run) or onnx (a folder that onnxruntime and "
               "onnxruntime-genai run). The plan is made of what the format can hold",
       .set = [](R& r, Text v) { r.format = std::string(find_target(v).name()); },
       .given = is_given<&R::format>});
  fields.push_back({.name = "fit",
                    .group = matrix,
                    .value = "FIT",
                    .help = "how codes, scale and zero are found. gptq: error feedback on the calibration text "
                            "(default where the model can be run, unless another objective is asked for). mse: least "
                            "squared error (default elsewhere). hqq, awq, rtn: as published. sinq: rtn with "
                            "--normalize sinq. autogptq: gptq with --normalize none --metadata f16 --zero-point "
                            "symmetric --column-order diagonal",
                    .set = [](R& r, Text v) { r.fit = parse_fit_method(v); },
                    .given = is_given<&R::fit>,
                    .show = [](const O& o) { return std::string(fit_name(o.fit)); },
                    .section = "quantize"});
  fields.push_back({.name = "axis",
                    .group = matrix,
                    .value = "1|0",
                    .usual = "1",
                    .help = "direction of groups: 1 along the input dimension, 0 as in the paper",
                    .set = [](R& r, Text v) { r.axis = static_cast<int>(whole(v, 0, 1)); },
                    .given = is_given<&R::axis>,
                    .show = [](const O& o) { return fmt::format("{}", o.axis); },
                    .section = "quantize",
                    .number = true});
  fields.push_back(
      {.name = "metadata",
       .group = matrix,
       .value = "M",
       .usual = "q8",
       .help = "how scale and zero are stored: q8, f16 or f32; as scale and bias in 16 bits, which is "
               "what MLX holds: f16-bias or bf16-bias (default with --format mlx; of compressed-tensors, gptq, awq and "
               "onnx, whose zeros are codes, the dtype of scales)",
       .set = [](R& r, Text v) { r.metadata = parse_metadata(v); },
       .given = is_given<&R::metadata>,
       .show = [](const O& o) { return std::string(metadata_name(o.metadata)); },
       .section = "quantize"});
  fields.push_back({.name = "normalize",
                    .group = matrix,
                    .value = "N",
                    .help = "what is done to a matrix first. rotation: divide columns by scales found from the "
                            "weights, then rotate rows, so that no weight stands out (default with gptq and mse). "
                            "columns: the scales alone. sinq: SINQ's scales. none",
                    .set = [](R& r, Text v) { r.normalize = parse_normalize(v); },
                    .given = is_given<&R::normalize>,
                    .show = [](const O& o) { return std::string(normalize_name(o.normalize)); },
                    .section = "quantize"});
  fields.push_back({.name = "embeddings",
                    .group = matrix,
                    .help = "plans the embedding and the output matrix too (default with --size, --vram and "
                            "--max-loss), or leaves them as they are",
                    .set = [](R& r, Text v) { r.embeddings = truth(v); },
                    .given = is_given<&R::embeddings>});
  fields.push_back({.name = "skip",
                    .group = matrix,
                    .value = "REGEX",
                    .help = "leaves matrices whose name the regular expression finds as they are",
                    .several = true,
                    .set = [](R& r, Text v) { r.skip.push_back(v); },
                    .given = is_given<&R::skip>});

  fields.push_back({.name = "calibration",
                    .group = text,
                    .value = "TEXT",
                    .help = "text whose activations gptq, awq and mse look at: self (the model samples it: no data), "
                            "FILE, or none (default: self for gptq and awq)",
                    .set = [](R& r, Text v) { r.calibration = v; },
                    .given = is_given<&R::calibration>});
  fields.push_back({.name = "calibration-tokens",
                    .group = text,
                    .value = "N",
                    .usual = "18432",
                    .help = "tokens of the calibration text",
                    .needs = FieldNeeds::a_text,
                    .set = [](R& r, Text v) { r.calibration_tokens = whole(v, 1, kMostTokens); },
                    .given = is_given<&R::calibration_tokens>});
  fields.push_back({.name = "damping",
                    .group = text,
                    .value = "D",
                    .usual = "0.01",
                    .help = "share of the mean diagonal of the inputs' second moments that gptq adds to the diagonal",
                    .needs = moments,
                    .set = [](R& r, Text v) { r.damping = number(v, 0, 100); },
                    .given = is_given<&R::damping>,
                    .show = [](const O& o) { return fmt::format("{}", o.feedback.damping); },
                    .section = "calibration",
                    .number = true});
  fields.push_back({.name = "zero-point",
                    .group = text,
                    .value = "Z",
                    .usual = "real",
                    .help = "how gptq finds a group's scale and zero: by least squares (real), or from the group's "
                            "range, as published (integer, symmetric). With metadata of 16 bits that has a bias, "
                            "these two are by least squares too, of mse as well (symmetric: default with --format "
                            "compressed-tensors, gptq and onnx; integer: with awq)",
                    .needs = moments,
                    .set = [](R& r, Text v) { r.zero_point = parse_zero_point(v); },
                    .given = is_given<&R::zero_point>,
                    .show = [](const O& o) { return std::string(zero_point_name(o.feedback.zero_point)); },
                    .section = "calibration"});
  fields.push_back({.name = "column-order",
                    .group = text,
                    .value = "ORDER",
                    .usual = "left",
                    .help = "order in which gptq codes columns: from the left, or by falling diagonal (act-order; "
                            "groups stay in place; default with --format compressed-tensors, gptq, awq and onnx)",
                    .needs = feedback,
                    .set = [](R& r, Text v) { r.column_order = parse_column_order(v); },
                    .given = is_given<&R::column_order>,
                    .show = [](const O& o) { return std::string(column_order_name(o.feedback.order)); },
                    .section = "calibration"});
  fields.push_back({.name = "token-weights",
                    .group = text,
                    .value = "W",
                    .usual = "even",
                    .help = "how much each token of the calibration text counts: gradient (as much as what the model "
                            "says depends on it) or even",
                    .needs = moments,
                    .set = [](R& r, Text v) { r.token_weights = parse_token_weighting(v); },
                    .given = is_given<&R::token_weights>,
                    .show = [](const O& o) { return std::string(token_weighting_name(o.feedback.token_weights)); },
                    .section = "calibration"});
  fields.push_back({.name = "shrinkage",
                    .group = text,
                    .value = "S",
                    .help = "share by which gptq takes correlations between inputs for smaller than the text shows "
                            "them (default 0.1 with gptq)",
                    .needs = feedback,
                    .set = [](R& r, Text v) { r.shrinkage = number(v, 0, 1); },
                    .given = is_given<&R::shrinkage>,
                    .show = [](const O& o) { return fmt::format("{}", o.feedback.shrinkage); },
                    .section = "calibration",
                    .number = true});
  fields.push_back({.name = "sweeps",
                    .group = text,
                    .value = "N",
                    .help = "how often gptq codes all columns once more, each given all others (coordinate descent; "
                            "default 3 with gptq)",
                    .needs = feedback,
                    .set = [](R& r, Text v) { r.sweeps = static_cast<int>(whole(v, 0, kMostSweeps)); },
                    .given = is_given<&R::sweeps>,
                    .show = [](const O& o) { return fmt::format("{}", o.feedback.sweeps); },
                    .section = "calibration",
                    .number = true});
  fields.push_back({.name = "correction",
                    .group = text,
                    .value = "S",
                    .usual = "0",
                    .help = "share by which gptq makes up for what the matrices before have changed in a matrix's "
                            "inputs; helps prose and may cost code (docs/decisions/0019)",
                    .needs = feedback,
                    .set = [](R& r, Text v) { r.correction = number(v, 0, 1); },
                    .given = is_given<&R::correction>,
                    .show = [](const O& o) { return fmt::format("{}", o.feedback.correction); },
                    .section = "calibration",
                    .number = true});
  fields.push_back({.name = "sample-tokens",
                    .group = text,
                    .value = "N",
                    .usual = "1536",
                    .help = "tokens that the model samples to measure sensitivities on, in four sequences. Sequences "
                            "of --calibration self are as long",
                    .needs = sample,
                    .set = [](R& r, Text v) { r.sample_tokens = whole(v, kProbeSequences, kMostTokens); },
                    .given = is_given<&R::sample_tokens>});
  fields.push_back({.name = "sample-seed",
                    .group = text,
                    .value = "N",
                    .usual = "0",
                    .help = "seed of the text that the model samples: the same seed samples the same text",
                    .needs = sample,
                    .set = [](R& r, Text v) { r.sample_seed = static_cast<uint64_t>(whole(v, 0, INT64_MAX)); },
                    .given = is_given<&R::sample_seed>});
  return fields;
}

}  // namespace

const std::vector<MethodField>& method_fields() {
  static const std::vector<MethodField> fields = make_fields();
  return fields;
}

std::string_view group_heading(FieldGroup group) {
  switch (group) {
    case FieldGroup::bits:
    case FieldGroup::bytes:
    case FieldGroup::goal:
      return "Budget";
    case FieldGroup::choice:
    case FieldGroup::trial:
      return "Plan";
    case FieldGroup::schemes:
    case FieldGroup::matrix:
      return "Method";
    case FieldGroup::text:
      return "Texts";
  }
  return {};
}

const MethodField* find_method_field(std::string_view name) {
  const auto& fields = method_fields();
  const auto found = std::find_if(fields.begin(), fields.end(), [&](const MethodField& f) { return f.name == name; });
  return found == fields.end() ? nullptr : &*found;
}

std::string section_key(const QuantizeOptions& options, std::string_view section) {
  std::string key;
  for (const MethodField& field : method_fields()) {
    if (field.section != section) continue;
    key += fmt::format("{}{}={}", key.empty() ? "" : " ", field.name, field.show(options));
  }
  return key;
}

}  // namespace mxq
