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

void set(const MethodField& field, MethodRequest& request, const std::string& value) {
  at_flag(fmt::format("--{}", field.name), [&] { field.set(request, value); });
}

void add_field(CLI::App& group, const MethodField& field, MethodRequest& request) {
  const std::string flag = fmt::format("--{}", field.name), help(field.help);
  CLI::Option* option = nullptr;
  if (field.value.empty()) {
    group.add_flag_function(
        fmt::format("{},!--no-{}", flag, field.name),
        [&](int64_t count) { set(field, request, count > 0 ? "true" : "false"); }, help);
    return;
  }
  if (field.several) {
    option = group.add_option_function<std::vector<std::string>>(
        flag,
        [&](const std::vector<std::string>& values) {
          for (const auto& value : values) set(field, request, value);
        },
        help);
    option->take_all();
  } else {
    option = group.add_option_function<std::string>(
        flag, [&](const std::string& value) { set(field, request, value); }, help);
  }
  option->type_name(std::string(field.value));
  if (!field.usual.empty()) option->default_str(std::string(field.usual));
}

}  // namespace

void at_flag(const std::string& flag, const std::function<void()>& read) {
  try {
    read();
  } catch (const Error& e) {
    throw Error(e.code(), flag, e.given(), e.supported());
  }
}

std::unique_ptr<Progress> CommonOptions::progress() const {
  return make_progress_bar(!quiet);
}

void add_common(CLI::App& app, CommonOptions& common) {
  app.add_flag("-q,--quiet", common.quiet, "show no progress bar, only results and errors");
  app.add_flag("--json", common.json, "print the result as one JSON object on standard output");
  app.add_option("--threads", common.threads, "number of threads (default: all cores)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  app.add_option("--log-level", common.log_level,
                 "least important messages on standard error: error, warn, info or debug")
      ->type_name("LEVEL")
      ->check(CLI::IsMember({"error", "warn", "info", "debug"}));
}

std::filesystem::path MethodOptions::cache() const {
  return no_cache ? std::filesystem::path() : cache_folder();
}

InputPaths MethodOptions::inputs(const std::string& model) const {
  return {{"the model", model}, {"the calibration text", request.calibration.value_or("")}};
}

void add_method(CLI::App& command, MethodOptions& method, std::initializer_list<FieldGroup> groups) {
  std::map<std::string_view, CLI::App*> headings;
  for (const MethodField& field : method_fields()) {
    if (std::find(groups.begin(), groups.end(), field.group) == groups.end()) continue;
    const std::string_view name = group_heading(field.group);
    if (!headings.contains(name)) headings[name] = command.add_option_group(std::string(name));
    add_field(*headings[name], field, method.request);
  }
  command.add_flag("--no-cache", method.no_cache, "measure everything anew, remember nothing");
  command.add_flag("--packed", method.packed,
                   "read the weights from the files whenever the model is run, as is done without this where memory "
                   "does not hold them: less memory, slower");
}

std::vector<CLI::Option*> add_sampling(CLI::App& command, Sampling& sampling) {
  auto* group = command.add_option_group("Sampling");
  return {
      group
          ->add_option("--temperature", sampling.temperature, "divide logits by it; 0 takes the likeliest token always")
          ->type_name("T")
          ->capture_default_str(),
      group->add_option("--top-p", sampling.top_p, "draw only from the likeliest tokens that reach this probability")
          ->type_name("P")
          ->capture_default_str(),
      group->add_option("--seed", sampling.seed, "seed of the text: the same seed draws the same text")
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
  constexpr const char* kCompute = "--compute";
  auto* group = command.add_option_group("Run");
  group->add_flag("--packed", run.packed, "keep the weights as the files hold them: less memory, slower");
  group
      ->add_option_function<std::string>(
          kCompute, [&run](const std::string& name) { at_flag(kCompute, [&] { run.compute = parse_compute(name); }); },
          "numbers in matrix products: f32, bf16 (faster with AMX or AVX-512), or auto: bf16 where the processor has "
          "it")
      ->type_name("C")
      ->default_str("f32");
}

}  // namespace mxq::cli
