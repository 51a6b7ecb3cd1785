#include "mxq/output.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "base/staged_folder.h"
#include "base/written_files.h"
#include "mxq/error.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

/// What a name stands for, whatever the name.
struct Identity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const Identity&) const = default;
};

std::optional<Identity> identity(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) < 0) return {};
  return Identity{status.st_dev, status.st_ino};
}

/// Absolute, without links, "." and "..", as far as the path is there.
fs::path real(const fs::path& path) {
  std::error_code error;
  const fs::path whole = fs::absolute(path, error);
  fs::path found = fs::weakly_canonical(whole, error);
  return error ? whole.lexically_normal() : found;
}

/// The same, but for the last name: that may be a link.
fs::path place_of(fs::path path) {
  while (!path.has_filename() && path.has_relative_path()) path = path.parent_path();
  const fs::path name = path.filename();
  if (name.empty() || name == "." || name == "..") return real(path);
  return real(path.has_parent_path() ? path.parent_path() : ".") / name;
}

/// The path and all folders above it that are there.
std::vector<Identity> upwards(fs::path path) {
  std::vector<Identity> found;
  for (;; path = path.parent_path()) {
    if (const auto id = identity(path)) found.push_back(*id);
    if (path == path.parent_path()) return found;
  }
}

bool contains(const std::vector<Identity>& all, const std::optional<Identity>& one) {
  return one && std::find(all.begin(), all.end(), *one) != all.end();
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    found.push_back(entry->path());
  }
  return found;
}

/// Why `out` cannot be written without touching what `input` is, in words for an error.
std::optional<std::string> conflict(const fs::path& out, const InputPath& input) {
  if (input.path.empty() || input.path == "-") return {};
  const auto say = [&](const char* how) { return fmt::format("it {} {} ({})", how, input.what, input.path.string()); };
  const auto source = identity(input.path);
  // Another output may not be there yet.
  if (!source) return place_of(input.path) == out ? std::optional(say("is")) : std::nullopt;
  const auto target = identity(out);
  if (target == source) return say("is");
  std::error_code ignored;
  const bool folder = fs::is_directory(input.path, ignored);
  if (folder && contains(upwards(out.parent_path()), source)) return say("is inside");
  const fs::path at = real(input.path);
  if (contains(upwards(at.parent_path()), target)) return say("holds");
  // Files may be links to where they are.
  std::vector<Identity> read{*source};
  for (const fs::path& entry : folder ? entries_of(at) : std::vector<fs::path>()) {
    const auto id = identity(entry);
    if (!id || fs::is_directory(entry, ignored)) continue;
    if (target == id) return say("is a file of");
    if (fs::is_symlink(entry, ignored) && contains(upwards(real(entry).parent_path()), target)) {
      return say("holds files of");
    }
    read.push_back(*id);
  }
  if (!target || !fs::is_directory(out, ignored)) return {};
  for (const fs::path& entry : entries_of(out)) {
    if (contains(read, identity(entry))) return say("holds files of");
  }
  return {};
}

/// Throws for the first input in the way.
void refuse_inputs(const std::string& operation, const fs::path& out, const InputPaths& inputs) {
  for (const InputPath& input : inputs) {
    if (const auto why = conflict(out, input)) throw Error(ErrorCode::usage, operation, *why, "a place of its own");
  }
}

/// Whether the file is empty or begins so.
bool begins_with(const fs::path& path, std::string_view beginning) {
  std::ifstream file(path, std::ios::binary);
  std::string text(beginning.size(), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return file.is_open() && (text.empty() || text == beginning);
}

}  // namespace

OutputFile::OutputFile(fs::path path, const FileKind& kind, InputPaths inputs)
    : path_(std::move(path)), kind_(kind), inputs_(std::move(inputs)) {
  check();
}

void OutputFile::check() const {
  const std::string operation = "write " + path_.string();
  const auto refuse = [&](const std::string& given) {
    throw Error(ErrorCode::usage, operation, given,
                fmt::format("a name that is new, or {} that mxq wrote", kind_.name));
  };
  if (path_.empty() || !path_.has_filename()) refuse("it is no name of a file");
  refuse_inputs(operation, place_of(path_), inputs_);
  if (const auto what = special_file(path_); !what.empty()) refuse(fmt::format("it is {}", what));
  std::error_code ignored;
  if (const fs::path folder = path_.parent_path(); !folder.empty() && !fs::is_directory(folder, ignored)) {
    throw Error(ErrorCode::not_found, operation, fmt::format("'{}' is no folder", folder.string()),
                "a folder that is there");
  }
  if (!fs::exists(path_, ignored)) return;
  if (!begins_with(path_, kind_.beginning)) {
    refuse(fmt::format("the file is there, and mxq did not write it as {}", kind_.name));
  }
}

void OutputFile::write(std::string_view text) const {
  check();
  write_file(path_, text);
}

OutputFolder::OutputFolder(const fs::path& folder, bool overwrite, InputPaths inputs)
    : path_(place_of(folder)), overwrite_(overwrite), inputs_(std::move(inputs)) {
  if (folder.empty()) throw Error(ErrorCode::usage, "make a folder", "an empty name", "a name");
  check();
}

void OutputFolder::check() const {
  const std::string operation = "make " + path_.string();
  const auto refuse = [&](const std::string& given, const std::string& allowed = "another name") {
    throw Error(ErrorCode::usage, operation, given, allowed);
  };
  refuse_inputs(operation, path_, inputs_);
  std::error_code ignored;
  if (contains(upwards(fs::current_path(ignored)), identity(path_))) refuse("it is the working folder, or above it");
  const fs::path partial = sibling(path_, "partial");
  const auto in_the_way = [&](const std::string& why) {
    refuse(fmt::format("'{}', its place until it is finished, is in the way: {}", partial.filename().string(), why),
           "another name, or that folder moved away");
  };
  if (fs::is_directory(fs::symlink_status(partial, ignored))) {
    if (const auto why = why_not_written(partial)) in_the_way(*why);
  } else if (fs::exists(fs::symlink_status(partial, ignored))) {
    in_the_way("mxq did not make it");
  }
  const auto status = fs::symlink_status(path_, ignored);
  if (!fs::exists(status)) return;
  if (fs::is_symlink(status)) refuse("it is a link, which is not replaced");
  if (!overwrite_) refuse("it exists", "another name, or --overwrite");
  if (!fs::is_directory(status)) refuse("it is no folder, and only a folder that mxq wrote is replaced");
  if (const auto why = why_not_written(path_)) {
    refuse(*why + "; only what mxq wrote is replaced, and nothing beside it");
  }
}

}  // namespace mxq
