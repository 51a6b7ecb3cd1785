#include "cli/option_modes.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "mxq/error.h"
#include "mxq/method.h"

namespace mxq::cli {

namespace {

using Modes = std::vector<Mode>;

struct Entry {
  std::string_view command;  // "bench export"; empty: of the program
  std::vector<std::string> options;
  Modes modes;
};

/// The options of the fields of a method.
std::vector<std::string> options_of(std::initializer_list<FieldGroup> groups) {
  std::vector<std::string> options;
  for (const MethodField& field : method_fields()) {
    if (std::find(groups.begin(), groups.end(), field.group) != groups.end()) {
      options.push_back(fmt::format("--{}", field.name));
    }
  }
  return options;
}

struct ModeName {
  Mode mode;
  std::string_view name;
};

constexpr ModeName kNames[] = {{Mode::always, "every use"},
                               {Mode::measure_errors, "no --sensitivity"},
                               {Mode::measure_sensitivity, "--sensitivity"},
                               {Mode::plan_model, "a MODEL and a budget"},
                               {Mode::plan_model_frontier, "a MODEL and no budget"},
                               {Mode::plan_table, "--errors and a budget"},
                               {Mode::plan_table_frontier, "--errors and no budget"},
                               {Mode::quantize_budget, "a budget"},
                               {Mode::quantize_verify, "a budget and --verify"},
                               {Mode::quantize_loss, "--max-loss"},
                               {Mode::quantize_plan, "--plan"},
                               {Mode::quantize_uniform, "--uniform"},
                               {Mode::eval_text, "--text"},
                               {Mode::eval_self, "--self"},
                               {Mode::eval_self_greedy, "--self and --temperature 0"},
                               {Mode::generate_greedy, "--temperature 0 (the default)"},
                               {Mode::generate_sampled, "a --temperature above 0"},
                               {Mode::bench_run, "a SPEC"},
                               {Mode::bench_dry_run, "a SPEC and --dry-run"},
                               {Mode::bench_status, "bench status"},
                               {Mode::bench_log, "bench log"},
                               {Mode::bench_export, "bench export"},
                               {Mode::bench_import, "bench import"},
                               {Mode::report, "report"}};

std::string_view mode_name(Mode mode) {
  return std::find_if(std::begin(kNames), std::end(kNames), [&](const ModeName& n) { return n.mode == mode; })->name;
}

const std::vector<Entry>& table() {
  static const Modes always{Mode::always};
  static const Modes plan_all{Mode::plan_model, Mode::plan_model_frontier, Mode::plan_table, Mode::plan_table_frontier};
  static const Modes plan_of_model{Mode::plan_model, Mode::plan_model_frontier};
  static const Modes plan_with_budget{Mode::plan_model, Mode::plan_table};
  static const Modes quantize_all{Mode::quantize_budget, Mode::quantize_verify, Mode::quantize_loss,
                                  Mode::quantize_plan, Mode::quantize_uniform};
  static const Modes quantize_chosen{Mode::quantize_budget, Mode::quantize_verify, Mode::quantize_loss};
  static const Modes quantize_method{Mode::quantize_budget, Mode::quantize_verify, Mode::quantize_loss,
                                     Mode::quantize_uniform};
  static const Modes quantize_bytes{Mode::quantize_budget, Mode::quantize_verify};
  static const Modes eval_all{Mode::eval_text, Mode::eval_self, Mode::eval_self_greedy};
  static const Modes eval_sampled{Mode::eval_self, Mode::eval_self_greedy};
  static const Modes generate_all{Mode::generate_greedy, Mode::generate_sampled};
  static const Modes bench_runs{Mode::bench_run, Mode::bench_dry_run};
  static const std::vector<Entry> entries{
      {"", {"--quiet", "--threads", "--log-level", "--version"}, {}},  // in all modes
      // Where there is a result to print.
      {"",
       {"--json"},
       {Mode::always, Mode::measure_errors, Mode::measure_sensitivity, Mode::plan_model, Mode::plan_table,
        Mode::quantize_budget, Mode::quantize_verify, Mode::quantize_loss, Mode::quantize_plan, Mode::quantize_uniform,
        Mode::eval_text, Mode::eval_self, Mode::eval_self_greedy, Mode::generate_greedy, Mode::generate_sampled,
        Mode::bench_run, Mode::bench_dry_run, Mode::bench_status}},
      {"inspect", {"MODEL"}, always},

      {"measure",
       {"MODEL", "--output", "--sensitivity", "--no-cache", "--packed"},
       {Mode::measure_errors, Mode::measure_sensitivity}},
      {"measure",
       options_of({FieldGroup::schemes, FieldGroup::matrix}),
       {Mode::measure_errors, Mode::measure_sensitivity}},
      {"measure", options_of({FieldGroup::text}), {Mode::measure_sensitivity}},

      {"plan", {"MODEL", "--no-cache", "--packed"}, plan_of_model},
      {"plan", {"--errors"}, {Mode::plan_table, Mode::plan_table_frontier}},
      {"plan", {"--output"}, plan_with_budget},
      {"plan", options_of({FieldGroup::bits}), plan_with_budget},
      {"plan", options_of({FieldGroup::bytes}), {Mode::plan_model}},
      {"plan", {"--frontier", "--grid"}, plan_all},
      {"plan", options_of({FieldGroup::choice, FieldGroup::schemes, FieldGroup::matrix, FieldGroup::text}), plan_all},

      {"quantize", {"MODEL", "--output", "--overwrite", "--shard-bytes", "--no-cache", "--packed"}, quantize_all},
      {"quantize", {"--plan"}, {Mode::quantize_plan}},
      {"quantize", {"--uniform"}, {Mode::quantize_uniform}},
      {"quantize", {"--max-loss"}, {Mode::quantize_loss}},
      {"quantize", options_of({FieldGroup::trial}), quantize_bytes},  // --no-verify too
      {"quantize", {"--text"}, {Mode::quantize_verify, Mode::quantize_loss}},
      {"quantize", options_of({FieldGroup::bits, FieldGroup::bytes}), quantize_bytes},
      {"quantize", options_of({FieldGroup::choice, FieldGroup::schemes}), quantize_chosen},
      {"quantize", options_of({FieldGroup::matrix, FieldGroup::text}), quantize_method},

      {"dequantize", {"MODEL", "--output", "--dtype", "--overwrite"}, always},

      {"eval", {"MODEL", "--against", "--tokens", "--packed", "--compute"}, eval_all},
      {"eval", {"--text", "--recipe", "--window", "--stride", "--base-logits"}, {Mode::eval_text}},
      {"eval", {"--self", "--sequences", "--temperature"}, eval_sampled},
      {"eval", {"--seed", "--top-p"}, {Mode::eval_self}},

      {"generate",
       {"MODEL", "--prompt", "--prompt-file", "--tokens", "--temperature", "--packed", "--compute"},
       generate_all},
      {"generate", {"--seed", "--top-p"}, {Mode::generate_sampled}},

      {"tokenize", {"MODEL", "--text", "--no-bos"}, always},

      {"bench", {"SPEC", "--retry", "--dry-run"}, bench_runs},
      {"bench",
       {"--store"},
       {Mode::bench_run, Mode::bench_dry_run, Mode::bench_status, Mode::bench_log, Mode::bench_export}},
      {"bench status", {"STORE"}, {Mode::bench_status}},
      {"bench log", {"STORE", "RUN"}, {Mode::bench_log}},
      {"bench export", {"STORE", "--output", "--all"}, {Mode::bench_export}},
      {"bench import", {"STORE", "CSV"}, {Mode::bench_import}},

      {"report",
       {"STORE", "--output", "--foreign", "--checkpoint", "--formats", "--only", "--markdown", "--introduction",
        "--title"},
       {Mode::report}}};
  return entries;
}

/// "bench export"; empty for the program.
std::string path_of(const CLI::App& command) {
  if (command.get_parent() == nullptr) return {};
  const std::string above = path_of(*command.get_parent());
  return above.empty() ? command.get_name() : above + " " + command.get_name();
}

/// As the table has it: the longest name, or that of a place.
std::string name_of_option(const CLI::Option& option) {
  return option.get_lnames().empty() ? option.get_name() : "--" + option.get_lnames().front();
}

const Entry* find(const std::string& command, const std::string& option) {
  for (const Entry& entry : table()) {
    if (entry.command == command &&
        std::find(entry.options.begin(), entry.options.end(), option) != entry.options.end()) {
      return &entry;
    }
  }
  return nullptr;
}

/// Groups of options stand in apps without a name.
std::vector<const CLI::Option*> options_of(const CLI::App& command) {
  const auto all = command.get_options([](const CLI::Option* option) {
    const std::string name = name_of_option(*option);
    return name != "--help";
  });
  std::vector<const CLI::Option*> found(all.begin(), all.end());
  for (const CLI::App* group : command.get_subcommands([](const CLI::App* app) { return app->get_name().empty(); })) {
    for (const CLI::Option* option : options_of(*group)) {
      if (std::find(found.begin(), found.end(), option) == found.end()) found.push_back(option);
    }
  }
  return found;
}

void check_command(const CLI::App& command, std::set<std::pair<std::string, std::string>>& seen) {
  const std::string path = path_of(command);
  for (const CLI::Option* option : options_of(command)) {
    const std::string name = name_of_option(*option);
    if (find(path, name) == nullptr) throw std::logic_error(fmt::format("no modes for {} of mxq {}", name, path));
    seen.emplace(path, name);
  }
  for (const CLI::App* sub : command.get_subcommands([](const CLI::App* app) { return !app->get_name().empty(); })) {
    check_command(*sub, seen);
  }
}

}  // namespace

void refuse_unused(const CLI::App& command, Mode mode) {
  for (const CLI::App* app = &command; app != nullptr; app = app->get_parent()) {
    const std::string path = path_of(*app);
    for (const CLI::Option* option : options_of(*app)) {
      if (option->count() == 0) continue;
      const std::string name = name_of_option(*option);
      const Entry* const entry = find(path, name);
      if (entry == nullptr || entry->modes.empty()) continue;
      const Modes& modes = entry->modes;
      if (std::find(modes.begin(), modes.end(), mode) != modes.end()) continue;
      std::vector<std::string_view> names;
      for (const Mode other : modes) {
        if (other != Mode::always) names.push_back(mode_name(other));
      }
      if (path.empty()) {
        throw Error(ErrorCode::usage, path_of(command), fmt::format("{} has no effect", name),
                    "the command without it");
      }
      throw Error(ErrorCode::usage, path_of(command), fmt::format("{} has no effect with {}", name, mode_name(mode)),
                  fmt::format("{} with {}", name, fmt::join(names, ", or ")));
    }
  }
}

void check_option_table(const CLI::App& app) {
  std::set<std::pair<std::string, std::string>> seen;
  check_command(app, seen);
  for (const Entry& entry : table()) {
    for (const std::string& option : entry.options) {
      if (!seen.contains({std::string(entry.command), option})) {
        throw std::logic_error(fmt::format("modes for {} of mxq {}, which is no option", option, entry.command));
      }
    }
  }
}

}  // namespace mxq::cli
