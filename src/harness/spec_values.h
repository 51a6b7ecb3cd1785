// What a spec's options may be, said before anything runs.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "harness/toml_table.h"
#include "mxq/method.h"

namespace mxq {

/// Throws Error(usage) naming the line where the option of `mxq eval` by this name would refuse the value.
void check_value(const TomlTable& table, std::string_view option, const std::string& value);

/// Throws Error(usage) naming the line where the field refuses the value.
void set_field(const TomlTable& table, const MethodField& field, const std::string& value, MethodRequest& request);

/// What arguments of `mxq quantize` ask for. Throws Error(usage) naming the line for values that a field refuses.
void set_flags(const TomlTable& table, const std::vector<std::string>& flags, MethodRequest& request);

/// Whether a command that runs in `folder` would find the program: in PATH, or, where a slash is in its name, there.
bool program_exists(const std::string& program, const std::filesystem::path& folder);

}  // namespace mxq
