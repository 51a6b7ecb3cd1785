#include "harness/spec_values.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <vector>

#include "mxq/allocate.h"
#include "mxq/budget.h"
#include "mxq/calibration.h"
#include "mxq/error.h"
#include "mxq/evaluate.h"
#include "mxq/scheme.h"
#include "mxq/text.h"
#include "mxq/trials.h"

namespace mxq {

namespace {

namespace fs = std::filesystem;

/// Throws Error whose supported() says what is allowed.
using Check = std::function<void(const std::string& value)>;

[[noreturn]] void refuse(const std::string& value, const std::string& supported) {
  throw Error(ErrorCode::usage, "read spec", fmt::format("'{}'", value), supported);
}

Check one_of(std::vector<std::string> names) {
  return [names = std::move(names)](const std::string& value) {
    if (std::find(names.begin(), names.end(), value) == names.end()) {
      refuse(value, fmt::format("{}", fmt::join(names, ", ")));
    }
  };
}

Check whole(int64_t least, int64_t most) {
  return [=](const std::string& value) {
    const auto number = parse_int(value);
    if (number && *number >= least && *number <= most) return;
    refuse(value, fmt::format("a whole number from {} to {}", least, most));
  };
}

void check_damping(const std::string& value) {
  const auto number = parse_double(value);
  if (!number || *number < 0 || *number > 100) refuse(value, "a number from 0 to 100");
}

void check_size(const std::string& value) {
  if (parse_size(value).value_or(0) == 0) refuse(value, "a size such as 4GiB");
}

/// The limits are those of the options' own.
const std::map<std::string_view, Check>& checks() {
  constexpr int64_t kTokens = int64_t{1} << 24, kWindow = int64_t{1} << 30, kText = int64_t{1} << 40;
  static const std::map<std::string_view, Check> all{
      {"uniform", parse_scheme},
      {"bits", parse_bits_budget},
      {"size", check_size},
      {"max-loss", parse_max_loss},
      {"fit", parse_fit_method},
      {"normalize", parse_normalize},
      {"objective", parse_objective},
      {"metadata", parse_metadata},
      {"axis", one_of({"0", "1"})},
      {"schemes", parse_schemes},
      {"calibration-tokens", whole(1, kTokens)},
      {"damping", check_damping},
      {"column-order", parse_column_order},
      {"zero-point", parse_zero_point},
      {"sample-tokens", whole(kProbeSequences, kTokens)},
      {"sample-seed", whole(0, INT64_MAX)},
      {"recipe", parse_recipe},
      {"window", whole(2, kWindow)},
      {"stride", whole(1, kWindow)},
      {"tokens", whole(2, kText)},
      {"compute", one_of({"f32", "bf16", "auto"})},
  };
  return all;
}

bool is_program(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

}  // namespace

void check_value(const TomlTable& table, std::string_view option, const std::string& value) {
  try {
    checks().at(option)(value);
  } catch (const Error& e) {
    table.fail(option, fmt::format("'{}'", value), e.supported().empty() ? e.given() : e.supported());
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
