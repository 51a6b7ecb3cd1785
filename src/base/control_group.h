// What control groups (containers) leave a process of the machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace mxq {

/// The least of the limits of this process's control group and those above it, of either version; nullopt where there
/// is none. `root` is where /proc and /sys are.
std::optional<int64_t> control_group_memory(const std::filesystem::path& root);
/// Memory that a process may still take: what the system calls available, and what the control group's limits leave of
/// it; nullopt where neither says.
std::optional<int64_t> free_memory_bytes(const std::filesystem::path& root);
/// Cores' time that the control group may take, the least of the limits as above, rounded up.
std::optional<int> control_group_cores(const std::filesystem::path& root);

}  // namespace mxq
