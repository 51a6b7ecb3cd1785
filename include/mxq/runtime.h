// The process that mxq runs in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace mxq {

/// Threads of every later parallel loop; n <= 0: all cores that the process may use (affinity, control group), the
/// default. Results never depend on it.
void set_threads(int n);
int threads();

/// Largest resident set of this program so far, in bytes.
int64_t peak_rss_bytes();

/// What this process may have: of the machine, or less where a control group (a container) limits it. In bytes; 0 where
/// the system does not say.
int64_t total_memory_bytes();

/// True where standard error is a terminal.
bool stderr_is_terminal();

/// The file that this process was started from.
std::filesystem::path program_path();

/// Replaces this process by another program, found by PATH, with these environment variables set. Returns only by
/// throwing Error(not_found), or Error(io) for what the system refuses.
[[noreturn]] void replace_process(const std::vector<std::string>& arguments,
                                  const std::vector<std::pair<std::string, std::string>>& variables);

/// Where caches go: $MXQ_CACHE, else $XDG_CACHE_HOME/mxq, else ~/.cache/mxq; empty where none of them is set.
std::filesystem::path cache_folder();

}  // namespace mxq
