// Facts about this process and machine.
#pragma once

#include <cstdint>
#include <filesystem>

namespace mxq {

/// Largest resident set so far, in bytes.
int64_t peak_rss_bytes();

/// Where caches go: $MXQ_CACHE, else $XDG_CACHE_HOME/mxq, else ~/.cache/mxq; empty where none of them is set.
std::filesystem::path cache_folder();

}  // namespace mxq
