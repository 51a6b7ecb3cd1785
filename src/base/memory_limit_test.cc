// Limits of control groups, from trees like those that Linux shows.
#include "base/memory_limit.h"

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

TEST_F(ControlGroup, TheMachinesMemoryIsTheMost) {
  EXPECT_GT(total_memory_bytes(), 0);
}

}  // namespace
}  // namespace mxq
