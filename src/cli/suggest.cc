#include "cli/suggest.h"

#include <fmt/format.h>

#include <algorithm>

#include "mxq/text.h"

namespace mxq::cli {

namespace {

std::vector<std::string> commands_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App* c) { return !c->get_name().empty(); })) {
    names.push_back(command->get_name());
  }
  return names;
}

/// "--bits", of the command, its groups (apps without a name) and those that it lies in.
std::vector<std::string> options_of(const CLI::App& command) {
  std::vector<std::string> names;
  const auto add = [&](const CLI::App& app) {
    for (const CLI::Option* option : app.get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  };
  for (const CLI::App* app = &command; app != nullptr; app = app->get_parent()) {
    add(*app);
    for (const CLI::App* group : app->get_subcommands([](const CLI::App* c) { return c->get_name().empty(); })) {
      add(*group);
    }
  }
  return names;
}

/// A word that is mostly other letters is no misspelling.
std::optional<std::string> meant(const std::string& word, const std::vector<std::string>& names) {
  const size_t letters = word.size() - std::min(word.size(), word.find_first_not_of('-'));
  return letters < 2 ? std::nullopt : nearest_name(word, names, letters < 4 ? 1 : 2);
}

}  // namespace

std::string suggestion(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App* command = &app;
  bool wants_command = true;
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    const std::string word = argument.substr(0, argument.find('='));
    std::vector<std::string> names;
    if (word.starts_with("--")) {
      names = options_of(*command);
    } else if (wants_command && !word.starts_with("-")) {
      names = commands_of(*command);
    }
    const bool known = std::find(names.begin(), names.end(), word) != names.end();
    if (!known) {
      if (const auto name = meant(word, names)) return fmt::format("; did you mean {}?", *name);
    }
    if (word.starts_with("-")) continue;
    if (known) command = command->get_subcommand(word);
    wants_command = known && !commands_of(*command).empty();
  }
  return {};
}

}  // namespace mxq::cli
