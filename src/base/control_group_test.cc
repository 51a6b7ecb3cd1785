// Limits of control groups, from trees like those that Linux shows.
#include "base/control_group.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "mxq/runtime.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

class ControlGroup : public testing::Test {
 protected:
  void file(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text << "\n";
  }
  std::optional<int64_t> limit() const { return control_group_memory(folder_.path()); }

  const TemporaryFolder folder_;
};

TEST_F(ControlGroup, NoneIsNoLimit) {
  EXPECT_EQ(limit(), std::nullopt);
  file("proc/self/cgroup", "0::/user/session");
  file("sys/fs/cgroup/user/session/memory.max", "max");
  EXPECT_EQ(limit(), std::nullopt);
}

TEST_F(ControlGroup, TheLeastOfVersion2) {
  file("proc/self/cgroup", "0::/user/session");
  file("sys/fs/cgroup/user/session/memory.max", "3000000");
  file("sys/fs/cgroup/user/memory.max", "2000000");
  file("sys/fs/cgroup/other/memory.max", "1000000");
  EXPECT_EQ(limit(), 2000000);
}

TEST_F(ControlGroup, Version1InAContainer) {
  file("proc/self/cgroup", "3:cpu,cpuacct:/docker/abc\n2:memory:/docker/abc");
  file("sys/fs/cgroup/memory/memory.limit_in_bytes", "4000000");
  EXPECT_EQ(limit(), 4000000) << "the container sees its own group at the top";
}

TEST_F(ControlGroup, FreeMemoryIsTheLeastOfMachineAndGroups) {
  const auto free = [&] { return free_memory_bytes(folder_.path()); };
  EXPECT_EQ(free(), std::nullopt);
  file("proc/meminfo", "MemTotal:       9000 kB\nMemAvailable:   8000 kB");
  EXPECT_EQ(free(), 8000 * 1024);
  file("proc/self/cgroup", "0::/user/session");
  file("sys/fs/cgroup/user/memory.max", "3000000");
  EXPECT_EQ(free(), 8000 * 1024) << "what is used is not known";
  file("sys/fs/cgroup/user/memory.current", "2000000");
  EXPECT_EQ(free(), 1000000);
  file("sys/fs/cgroup/user/memory.stat", "anon 900000\ninactive_file 500000\nactive_file 1");
  EXPECT_EQ(free(), 1500000) << "old pages of files can be had";
  file("sys/fs/cgroup/user/memory.current", "4000000");
  EXPECT_EQ(free(), 0);
}

TEST_F(ControlGroup, CoresOfVersion2AreRoundedUp) {
  EXPECT_EQ(control_group_cores(folder_.path()), std::nullopt);
  file("proc/self/cgroup", "0::/user/session");
  file("sys/fs/cgroup/user/session/cpu.max", "max 100000");
  EXPECT_EQ(control_group_cores(folder_.path()), std::nullopt);
  file("sys/fs/cgroup/user/cpu.max", "250000 100000");
  EXPECT_EQ(control_group_cores(folder_.path()), 3);
  file("sys/fs/cgroup/user/session/cpu.max", "10000 100000");
  EXPECT_EQ(control_group_cores(folder_.path()), 1);
  file("sys/fs/cgroup/user/session/cpu.max", "nonsense");
  EXPECT_EQ(control_group_cores(folder_.path()), 3);
}

TEST_F(ControlGroup, CoresOfVersion1) {
  file("proc/self/cgroup", "3:cpu,cpuacct:/docker/abc\n2:memory:/docker/abc");
  file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1");
  file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  EXPECT_EQ(control_group_cores(folder_.path()), std::nullopt);
  file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000");
  EXPECT_EQ(control_group_cores(folder_.path()), 2);
}

TEST_F(ControlGroup, TheMachinesMemoryIsTheMost) {
  EXPECT_GT(total_memory_bytes(), 0);
}

}  // namespace
}  // namespace mxq
