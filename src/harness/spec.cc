// An experiment as its spec says it.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "harness/spec_values.h"
#include "harness/toml_table.h"
#include "mxq/error.h"
#include "mxq/experiment.h"
#include "mxq/files.h"

namespace mxq {

namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string, std::less<>>;

class Reader {
 public:
  explicit Reader(const fs::path& path) : path_(path), folder_(fs::absolute(path).parent_path()) {
    const std::string text = read_file(path);
    try {
      document_ = toml::parse(text, path.string());
    } catch (const toml::parse_error& e) {
      throw Error(ErrorCode::usage, "read " + path.string(),
                  fmt::format("line {}: {}", e.source().begin.line, std::string_view(e.description())));
    }
  }

  Experiment read() {
    TomlTable root(document_, path_.string());
    Experiment experiment;
    if (const auto store = root.text("store")) experiment.store = folder_ / *store;
    read_models(root);
    read_texts(root);
    read_metrics(root);
    for (TomlTable& method : root.tables("methods")) read_method(method, experiment.runs);
    root.refuse_other_keys();
    if (experiment.runs.empty()) {
      throw Error(ErrorCode::usage, "read " + path_.string(), "no runs", "[[models]] and [[methods]]");
    }
    refuse_twins(experiment.runs);
    return experiment;
  }

 private:
  struct Text {
    std::string name;
    fs::path path;
    std::vector<std::string> flags;
  };

  /// A path of the spec, which must exist.
  fs::path existing(TomlTable& table, std::string_view key) {
    const std::string value = table.required_text(key);
    fs::path found = folder_ / value;
    std::error_code ignored;
    if (!fs::exists(found, ignored)) table.fail(key, fmt::format("'{}'", value), "a file or folder that exists");
    return found;
  }

  static void add_eval_option(const TomlTable& table, const std::string& key, const std::string& value,
                              std::vector<std::string>& flags) {
    check_value(table, key, value);
    flags.insert(flags.end(), {"--" + key, value});
  }

  void claim(TomlTable& table, const std::string& name, Names& names) {
    if (!names.insert(name).second) table.fail("name", fmt::format("'{}'", name), "another name: that one is taken");
  }

  void read_models(TomlTable& root) {
    for (TomlTable& table : root.tables("models")) {
      const std::string name = table.required_text("name");
      claim(table, name, model_names_);
      models_.emplace_back(name, existing(table, "path"));
      table.refuse_other_keys();
    }
  }

  void read_texts(TomlTable& root) {
    for (TomlTable& table : root.tables("texts")) {
      Text text;
      text.name = table.required_text("name");
      claim(table, text.name, text_names_);
      text.path = existing(table, "path");
      for (const char* key : {"recipe", "window", "stride", "tokens"}) {
        if (const auto value = table.scalar(key)) add_eval_option(table, key, *value, text.flags);
      }
      table.refuse_other_keys();
      texts_.push_back(std::move(text));
    }
  }

  void read_metrics(TomlTable& root) {
    auto table = root.table("metrics");
    if (!table) return;
    std::vector<std::string> run_flags;
    if (const auto compute = table->text("compute")) add_eval_option(*table, "compute", *compute, run_flags);
    if (table->flag("packed").value_or(false)) run_flags.emplace_back("--packed");
    const auto kl = table->texts("kl");
    const bool base_logits = table->flag("base-logits").value_or(false);
    const auto add = [&](const std::string& key, const std::string& name, bool against) {
      const auto found = std::find_if(texts_.begin(), texts_.end(), [&](const Text& t) { return t.name == name; });
      if (found == texts_.end()) {
        table->fail(key, fmt::format("'{}'", name), fmt::format("one of [[texts]]: {}", fmt::join(text_names_, ", ")));
      }
      auto flags = found->flags;
      flags.insert(flags.end(), run_flags.begin(), run_flags.end());
      scorings_.push_back({name, against, std::move(flags), found->path, against && base_logits});
    };
    for (const auto& name : kl) add("kl", name, true);
    for (const auto& name : table->texts("perplexity")) {
      if (std::find(kl.begin(), kl.end(), name) == kl.end()) add("perplexity", name, false);
    }
    if (table->flag("self-kl").value_or(false)) scorings_.push_back({"self", true, run_flags, {}, false});
    for (TomlTable& command : table->tables("commands")) {
      const std::string name = command.required_text("name");
      claim(command, name, command_names_);
      commands_.push_back({name, command.texts("run")});
      if (commands_.back().arguments.empty()) command.fail("run", "nothing", "a program and its arguments");
      const std::string& program = commands_.back().arguments.front();
      if (!program_exists(program, folder_)) {
        command.fail("run", fmt::format("'{}'", program),
                     "a program in PATH, or with a slash one from the spec's folder on");
      }
      command.refuse_other_keys();
    }
    table->refuse_other_keys();
  }

  /// Of which a method has one a run.
  static bool is_budget(const MethodField& field) {
    return field.group == FieldGroup::bits || field.group == FieldGroup::bytes || field.group == FieldGroup::goal;
  }

  /// The arguments that all runs of a method share, and what they ask for: any field of a method but budgets.
  std::vector<std::string> method_flags(TomlTable& method, MethodRequest& request) {
    std::vector<std::string> flags;
    const auto add = [&](const MethodField& field, const std::string& value) {
      set_field(method, field, value, request);
      flags.insert(flags.end(), {fmt::format("--{}", field.name), value});
    };
    for (const MethodField& field : method_fields()) {
      if (is_budget(field)) continue;
      if (field.name == "calibration") {
        if (const auto value = method.text("calibration")) {
          const bool is_name = *value == "self" || *value == "none";
          add(field, is_name ? *value : existing(method, "calibration").string());
        }
      } else if (field.value.empty()) {
        if (const auto value = method.flag(field.name)) {
          set_field(method, field, *value ? "true" : "false", request);
          flags.push_back(fmt::format("--{}{}", *value ? "" : "no-", field.name));
        }
      } else if (field.several) {
        for (const auto& value : method.texts(field.name)) add(field, value);
      } else if (const auto value = method.scalar(field.name)) {
        add(field, *value);
      }
    }
    const auto more = method.texts("flags");
    set_flags(method, more, request);
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  }

  /// One of a method's budgets.
  struct Config {
    std::string label;
    std::vector<std::string> budget;  // arguments
    MethodRequest request;
  };

  void read_method(TomlTable& method, std::vector<ExperimentRun>& runs) {
    const std::string name = method.required_text("name");
    claim(method, name, method_names_);
    const bool original = method.flag("original").value_or(false);
    MethodRequest shared;
    const auto flags = method_flags(method, shared);
    if (shared.format && *shared.format != Method().format) {
      method.fail("format", fmt::format("'{}'", *shared.format), "mxq, the checkpoints that experiments evaluate");
    }
    std::vector<Config> configs;
    for (const std::string key : {"uniform", "bits", "size", "max-loss"}) {
      for (const auto& value : method.texts(key)) {
        configs.push_back({key == "max-loss" ? "loss " + value : value, {"--" + key, value}, shared});
        set_field(method, *find_method_field(key), value, configs.back().request);
      }
    }
    auto models = method.texts("models");
    for (const auto& model : models) {
      if (model_names_.contains(model)) continue;
      method.fail("models", fmt::format("'{}'", model),
                  fmt::format("one of [[models]]: {}", fmt::join(model_names_, ", ")));
    }
    method.refuse_other_keys();
    if (original && !(configs.empty() && flags.empty())) {
      method.fail("original", "true", "a method without budget and flags: nothing is quantized");
    }
    if (original) configs.emplace_back();
    if (configs.empty()) {
      throw Error(ErrorCode::usage, "read " + path_.string(),
                  fmt::format("line {}: method '{}' without a budget", method.line(), name),
                  "uniform, bits, size or max-loss, or original = true");
    }
    for (const auto& [model, path] : models_) {
      if (!models.empty() && std::find(models.begin(), models.end(), model) == models.end()) continue;
      for (const auto& [label, budget, request] : configs) {
        ExperimentRun run;
        run.model = model;
        run.method = name;
        run.config = label;
        run.folder = folder_;
        run.model_path = path;
        run.original = original;
        run.request = request;
        run.quantize = budget;
        run.quantize.insert(run.quantize.end(), flags.begin(), flags.end());
        run.scorings = scorings_;
        run.commands = commands_;
        runs.push_back(std::move(run));
      }
    }
  }

  void refuse_twins(const std::vector<ExperimentRun>& runs) const {
    Names labels;
    for (const auto& run : runs) {
      if (labels.insert(run.label()).second) continue;
      throw Error(ErrorCode::usage, "read " + path_.string(), fmt::format("run '{}' twice", run.label()), "each once");
    }
  }

  fs::path path_, folder_;
  toml::table document_;
  Names model_names_, text_names_, method_names_, command_names_;
  std::vector<std::pair<std::string, fs::path>> models_;
  std::vector<Text> texts_;
  std::vector<ExperimentRun::Scoring> scorings_;
  std::vector<ExperimentRun::Command> commands_;
};

}  // namespace

Experiment read_experiment(const std::filesystem::path& spec) {
  return Reader(spec).read();
}

}  // namespace mxq
