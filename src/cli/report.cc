// mxq report: the Python package mxq.report draws; this finds it and hands it what it was told.
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/commands.h"
#include "cli/option_modes.h"
#include "mxq/error.h"
#include "mxq/runtime.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string store, output, foreign, checkpoint, formats = "svg,png,pdf", only, markdown, introduction,
                                                  title = "mxq report";
};

/// The folder of the Python packages: beside the program in a build tree, in share/mxq of an installation.
std::filesystem::path packages() {
  const auto folder = program_path().parent_path();
  for (const auto& place : {folder / "python", folder.parent_path() / "share" / "mxq" / "python"}) {
    if (std::filesystem::is_directory(place / "mxq" / "report")) return place;
  }
  throw Error(ErrorCode::not_found, "report", "the Python package mxq.report is missing",
              "it in " + (folder.parent_path() / "share" / "mxq" / "python").string());
}

nlohmann::json formats(const std::string& list) {
  auto out = nlohmann::json::array();
  std::istringstream parts(list);
  for (std::string part; list != "none" && std::getline(parts, part, ',');) {
    if (part != "svg" && part != "png" && part != "pdf") {
      throw Error(ErrorCode::usage, "--formats", "'" + part + "'", "none, or a comma list of svg, png, pdf");
    }
    out.push_back(part);
  }
  return out;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

void run(const Options& options) {
  if (options.store.empty() && options.foreign.empty()) {
    throw Error(ErrorCode::usage, "report", "nothing to report on", "STORE, or --foreign FOLDER");
  }
  const nlohmann::json job{{"store", options.store},
                           {"output", options.output},
                           {"foreign", options.foreign},
                           {"checkpoint", options.checkpoint},
                           {"formats", formats(options.formats)},
                           {"only", options.only},
                           {"markdown", options.markdown},
                           {"introduction", options.introduction},
                           {"title", options.title},
                           {"program", program_path().string()}};
  std::string path = packages().string();
  if (const std::string before = variable("PYTHONPATH"); !before.empty()) path += ":" + before;
  const std::string chosen = variable("MXQ_PYTHON");
  replace_process({chosen.empty() ? "python3" : chosen, "-m", "mxq.report", job.dump()}, {{"PYTHONPATH", path}});
}

}  // namespace

void add_report(CLI::App& app) {
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("report", "draw pictures and tables of an experiment: a page and its figures");
  command->add_option("STORE", options->store, "store of mxq bench");
  command->add_option("-o,--output", options->output, "folder for index.html and figures/")
      ->type_name("FOLDER")
      ->required();
  command
      ->add_option("--foreign", options->foreign,
                   "folder of the authors' published CSVs: draw their figures, and mxq's plans of them")
      ->type_name("FOLDER");
  command->add_option("--checkpoint", options->checkpoint, "mxq checkpoint whose packing is drawn")
      ->type_name("FOLDER");
  command->add_option("--formats", options->formats, "formats of the single figures: svg, png, pdf, or none")
      ->type_name("LIST")
      ->capture_default_str();
  command->add_option("--only", options->only, "draw only the single figures whose names the regular expression finds")
      ->type_name("REGEX");
  auto* markdown = command->add_option("--markdown", options->markdown, "also write the results as Markdown tables")
                       ->type_name("FILE");
  command->add_option("--introduction", options->introduction, "text that stands before the Markdown tables")
      ->type_name("FILE")
      ->needs(markdown);
  command->add_option("--title", options->title, "title of the page")->capture_default_str();
  command->footer(
      "Python draws, with plotly and matplotlib: $MXQ_PYTHON, else python3 (pip install plotly matplotlib).");
  command->callback([options, command] {
    refuse_unused(*command, Mode::report);
    run(*options);
  });
}

}  // namespace mxq::cli
