#include "base/memory_limit.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq {

namespace {

namespace fs = std::filesystem;

/// The least limit from the group up to where the groups are mounted. A container sees its own group there, though
/// /proc may give the path that it has outside.
void add_limits(const fs::path& mount, const fs::path& group, const char* file, std::optional<int64_t>& least) {
  for (fs::path at = group.relative_path();; at = at.parent_path()) {
    std::ifstream in(mount / at / file);
    std::string line;
    // Version 2 says "max" where there is no limit, which is no number.
    if (std::getline(in, line)) {
      if (const auto limit = parse_int(line)) least = std::min(least.value_or(*limit), *limit);
    }
    if (at.empty()) return;
  }
}

}  // namespace

std::optional<int64_t> control_group_memory(const fs::path& root) {
  std::optional<int64_t> least;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // "0::/path" of version 2, "9:cpu,memory:/path" of version 1.
    const auto fields = split(line, ':');
    if (fields.size() < 3) continue;
    const fs::path mount = root / "sys/fs/cgroup";
    if (fields[1].empty()) add_limits(mount, fields[2], "memory.max", least);
    const auto controllers = split(fields[1], ',');
    if (std::find(controllers.begin(), controllers.end(), "memory") != controllers.end()) {
      add_limits(mount / "memory", fields[2], "memory.limit_in_bytes", least);
    }
  }
  return least;
}

int64_t total_memory_bytes() {
  const int64_t machine = std::max<int64_t>(0, int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE));
  return std::min(machine, control_group_memory("/").value_or(machine));
}

}  // namespace mxq
