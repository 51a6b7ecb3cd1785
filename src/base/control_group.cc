#include "base/control_group.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq {

namespace {

namespace fs = std::filesystem;

/// What `read` finds in the folder of this process's control group and of those above it, up to where groups are
/// mounted: the least. A container sees its own group there, though /proc may give the path that it has outside.
/// `controller` is version 1's; `read` is told the version.
using Limit = std::function<std::optional<int64_t>(const fs::path& group, int version)>;
std::optional<int64_t> least_limit(const fs::path& root, const std::string& controller, const Limit& read) {
  std::optional<int64_t> least;
  const auto climb = [&](const fs::path& mount, const fs::path& group, int version) {
    for (fs::path at = group.relative_path();; at = at.parent_path()) {
      if (const auto limit = read(mount / at, version)) least = std::min(least.value_or(*limit), *limit);
      if (at.empty()) return;
    }
  };
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // "0::/path" of version 2, "9:cpu,memory:/path" of version 1.
    const auto fields = split(line, ':');
    if (fields.size() < 3) continue;
    const fs::path mount = root / "sys/fs/cgroup";
    if (fields[1].empty()) climb(mount, fields[2], 2);
    const auto controllers = split(fields[1], ',');
    if (std::find(controllers.begin(), controllers.end(), controller) != controllers.end()) {
      climb(mount / controller, fields[2], 1);
    }
  }
  return least;
}

/// The numbers of a file's first line; nullopt for what is none, such as "max" where there is no limit.
std::vector<std::optional<int64_t>> numbers_in(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::vector<std::optional<int64_t>> numbers;
  if (std::getline(in, line)) {
    for (const auto& word : split(line, ' ')) numbers.push_back(parse_int(word));
  }
  numbers.resize(2);
  return numbers;
}

/// The number behind a word that a line of the file begins with.
std::optional<int64_t> number_behind(const fs::path& file, const std::string& word) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string first;
    int64_t number = 0;
    if (words >> first && first == word && words >> number) return number;
  }
  return {};
}

}  // namespace

std::optional<int64_t> control_group_memory(const fs::path& root) {
  return least_limit(root, "memory", [](const fs::path& group, int version) {
    return numbers_in(group / (version == 2 ? "memory.max" : "memory.limit_in_bytes"))[0];
  });
}

std::optional<int64_t> free_memory_bytes(const fs::path& root) {
  const auto left = least_limit(root, "memory", [](const fs::path& group, int version) -> std::optional<int64_t> {
    const auto limit = numbers_in(group / (version == 2 ? "memory.max" : "memory.limit_in_bytes"))[0];
    const auto used = numbers_in(group / (version == 2 ? "memory.current" : "memory.usage_in_bytes"))[0];
    if (!limit || !used) return {};
    // Pages of files that nobody has looked at for a while are given back when they are wanted.
    const char* const cached = version == 2 ? "inactive_file" : "total_inactive_file";
    return std::max<int64_t>(0, *limit - *used + number_behind(group / "memory.stat", cached).value_or(0));
  });
  const auto kilobytes = number_behind(root / "proc/meminfo", "MemAvailable:");
  if (!kilobytes) return left;
  const int64_t available = *kilobytes * 1024;
  return std::min(left.value_or(available), available);
}

std::optional<int> control_group_cores(const fs::path& root) {
  const auto cores = least_limit(root, "cpu", [](const fs::path& group, int version) -> std::optional<int64_t> {
    const auto both = numbers_in(group / "cpu.max");
    const auto quota = version == 2 ? both[0] : numbers_in(group / "cpu.cfs_quota_us")[0];
    const auto period = version == 2 ? both[1] : numbers_in(group / "cpu.cfs_period_us")[0];
    if (!quota || !period || *quota <= 0 || *period <= 0) return {};
    return std::clamp<int64_t>(1 + (*quota - 1) / *period, 1, 1 << 20);
  });
  if (!cores) return {};
  return static_cast<int>(*cores);
}

int64_t total_memory_bytes() {
  const int64_t machine = std::max<int64_t>(0, int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE));
  return std::min(machine, control_group_memory("/").value_or(machine));
}

}  // namespace mxq
