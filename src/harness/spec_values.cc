#include "harness/spec_values.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <vector>

#include "mxq/error.h"
#include "mxq/evaluate.h"
#include "mxq/text.h"

namespace mxq {

namespace {

namespace fs = std::filesystem;

/// Throws Error whose supported() says what is allowed.
using Check = std::function<void(const std::string& value)>;

Check whole(const PerplexityOptions::Limits& limits) {
  return [limits](const std::string& value) {
    const auto number = parse_int(value);
    if (number && *number >= limits.least && *number <= limits.most) return;
    throw Error(ErrorCode::usage, "read spec", fmt::format("'{}'", value),
                fmt::format("a whole number from {} to {}", limits.least, limits.most));
  };
}

/// Options of `mxq eval`.
const std::map<std::string_view, Check>& checks() {
  static const std::map<std::string_view, Check> all{
      {"recipe", parse_recipe},
      {"window", whole(PerplexityOptions::kWindow)},
      {"stride", whole(PerplexityOptions::kStride)},
      {"tokens", whole(PerplexityOptions::kTokens)},
      {"compute", parse_compute},
  };
  return all;
}

bool is_program(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

/// Errors of `set` name the line.
template <typename Set>
void at_line(const TomlTable& table, std::string_view option, const std::string& value, Set set) {
  try {
    set();
  } catch (const Error& e) {
    table.fail(option, fmt::format("'{}'", value), e.supported().empty() ? e.given() : e.supported());
  }
}

}  // namespace

void check_value(const TomlTable& table, std::string_view option, const std::string& value) {
  at_line(table, option, value, [&] { checks().at(option)(value); });
}

void set_field(const TomlTable& table, const MethodField& field, const std::string& value, MethodRequest& request) {
  at_line(table, field.name, value, [&] { field.set(request, value); });
}

void set_flags(const TomlTable& table, const std::vector<std::string>& flags, MethodRequest& request) {
  for (size_t i = 0; i < flags.size(); ++i) {
    const std::string& flag = flags[i];
    if (!flag.starts_with("--")) continue;
    const size_t equal = flag.find('=');
    const std::string name = flag.substr(2, equal == std::string::npos ? equal : equal - 2);
    const bool no = name.starts_with("no-") && find_method_field(name.substr(3)) != nullptr;
    const MethodField* const field = find_method_field(no ? name.substr(3) : name);
    if (field == nullptr) continue;  // of the command: mxq quantize itself says what is wrong with it
    if (field->value.empty()) {
      set_field(table, *field, no ? "false" : "true", request);
    } else if (equal != std::string::npos) {
      set_field(table, *field, flag.substr(equal + 1), request);
    } else if (i + 1 < flags.size()) {
      set_field(table, *field, flags[++i], request);
    } else {
      table.fail("flags", fmt::format("'{}'", flag), "a value behind it");
    }
  }
}

bool program_exists(const std::string& program, const fs::path& folder) {
  if (program.find('/') != std::string::npos) return is_program(folder / program);
  const char* variable = std::getenv("PATH");
  const auto folders = split(variable != nullptr ? variable : "/bin:/usr/bin", ':');
  return std::any_of(folders.begin(), folders.end(),
                     [&](const std::string& item) { return is_program(folder / item / program); });
}

}  // namespace mxq
