#include "harness/run_id.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/content_hash.h"
#include "mxq/error.h"

namespace mxq {

namespace {

namespace fs = std::filesystem;

void add_file(const fs::path& path, ContentHash& hash) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::io, "read " + path.string(), "cannot be opened");
  std::vector<char> buffer(size_t{1} << 20);
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || file.gcount() > 0) {
    hash.add(std::string_view(buffer.data(), static_cast<size_t>(file.gcount())));
  }
  if (file.bad()) throw Error(ErrorCode::io, "read " + path.string(), "failed");
}

}  // namespace

const std::string& RunIdentifier::content(const fs::path& path) {
  const auto [entry, fresh] = known_.try_emplace(path.string());
  if (!fresh) return entry->second;
  ContentHash hash;
  if (fs::is_directory(path)) {
    std::vector<fs::path> files;
    for (const auto& item : fs::directory_iterator(path)) {
      if (item.is_regular_file()) files.push_back(item.path());
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      hash.add(file.filename().string());
      add_file(file, hash);
    }
  } else {
    add_file(path, hash);
  }
  return entry->second = hash.hex();
}

std::string RunIdentifier::argument(const fs::path& folder, const std::string& text) {
  std::error_code ignored;
  return fs::is_regular_file(folder / text, ignored) ? "file " + content(folder / text) : text;
}

std::string RunIdentifier::id(const ExperimentRun& run) {
  nlohmann::json key{{"version", MXQ_VERSION}, {"model", content(run.model_path)}, {"original", run.original}};
  key["quantize"] = nlohmann::json::array();
  for (const auto& text : run.quantize) key["quantize"].push_back(argument(run.folder, text));
  for (const auto& scoring : run.scorings) {
    key["scorings"].push_back({scoring.name, scoring.against_original, scoring.flags,
                               scoring.text.empty() ? std::string() : content(scoring.text)});
  }
  for (const auto& command : run.commands) {
    auto& arguments = key["commands"][command.name] = nlohmann::json::array();
    for (const auto& text : command.arguments) arguments.push_back(argument(run.folder, text));
  }
  ContentHash hash;
  hash.add(key.dump());
  return hash.hex();
}

void identify(Experiment& experiment) {
  RunIdentifier identifier;
  std::map<std::string, const ExperimentRun*> owners;
  for (ExperimentRun& run : experiment.runs) {
    if (run.id.empty()) run.id = identifier.id(run);
    const auto [owner, fresh] = owners.emplace(run.id, &run);
    if (!fresh) {
      throw Error(ErrorCode::usage, "bench",
                  fmt::format("runs '{}' and '{}' are the same", owner->second->label(), run.label()), "each once");
    }
  }
}

}  // namespace mxq
