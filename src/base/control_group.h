// What control groups (containers) leave a process of the machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace mxq {

/// The least of the limits of this process's control group and those above it, of either version; nullopt where there
/// is none. `root` is where /proc and /sys are.
std::optional<int64_t> control_group_memory(const std::filesystem::path& root);
/// Likewise: cores' time that the group may take, rounded up.
std::optional<int> control_group_cores(const std::filesystem::path& root);

}  // namespace mxq
