// What a spec's options may be, said before anything runs.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "harness/toml_table.h"

namespace mxq {

/// Throws Error(usage) naming the line where an option of `mxq quantize` or `mxq eval` by this name would refuse the
/// value.
void check_value(const TomlTable& table, std::string_view option, const std::string& value);

/// Whether a command that runs in `folder` would find the program: in PATH, or, where a slash is in its name, there.
bool program_exists(const std::string& program, const std::filesystem::path& folder);

}  // namespace mxq
