// Programs in processes of their own.
#include "harness/child.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "expect_error.h"
#include "mxq/error.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

TEST(Child, GivesOutputLogAndExitCode) {
  const auto child = run_child({"sh", "-c", "echo out; echo first >&2; echo last >&2; exit 3"});
  EXPECT_EQ(child.exit_code, 3);
  EXPECT_EQ(child.output, "out\n");
  EXPECT_EQ(child.log, "first\nlast\n");
  EXPECT_GT(child.peak_rss_bytes, 0);
}

TEST(Child, RunsInItsFolder) {
  EXPECT_EQ(run_child({"pwd"}, "/").output, "/\n");
  expect_error(ErrorCode::not_found, "run pwd: No such file", [] { run_child({"pwd"}, "/no/such/folder"); });
}

TEST(Child, StandardInputIsEmpty) {
  EXPECT_EQ(run_child({"cat"}).output, "");
}

TEST(Child, OutputLargerThanAnyPipe) {
  // Both streams at once: neither may wait for the other.
  const auto child = run_child({"sh", "-c", "head -c 3000000 /dev/zero >&2 & head -c 2000000 /dev/zero; wait"});
  EXPECT_EQ(child.output.size(), 2000000u);
  EXPECT_GE(child.log.size(), size_t{64} << 10);
  EXPECT_LE(child.log.size(), size_t{128} << 10);
}

TEST(Child, SignalsAreExitCodes) {
  EXPECT_EQ(run_child({"sh", "-c", "kill -9 $$"}).exit_code, 128 + 9);
}

/// The number that a shell wrote into the file; waits for it.
pid_t number_in(const std::filesystem::path& file) {
  for (;;) {
    std::string line;
    // The line's end tells that it is whole.
    if (std::ifstream in(file); std::getline(in, line) && !in.eof()) return std::stoi(line);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

/// Waits until the process is no more, or but a zombie that nobody has waited for; false after 20 seconds.
bool ends(pid_t process) {
  for (int i = 0; i < 4000; ++i) {
    std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
    std::string line;
    if (!std::getline(stat, line) || line.substr(line.rfind(')') + 2, 1) == "Z") return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

TEST(Child, WhatItLeavesRunningEndsWithIt) {
  const TemporaryFolder folder;
  const std::string file = (folder / "pid").string();
  // The sleeper holds both streams open.
  const auto child = run_child({"sh", "-c", "sleep 600 & echo $! > " + file + "; echo out"});
  EXPECT_EQ(child.output, "out\n");
  EXPECT_TRUE(ends(number_in(file)));
}

TEST(Child, ItsChildrenDieWithThisProcess) {
  const TemporaryFolder folder;
  const std::string file = (folder / "pid").string();
  const pid_t worker = ::fork();
  if (worker == 0) {
    run_child({"sh", "-c", "sh -c 'echo $$ > " + file + "; sleep 600; true'; true"});
    ::_exit(0);
  }
  const pid_t grandchild = number_in(file);
  ::kill(worker, SIGKILL);
  ::waitpid(worker, nullptr, 0);
  EXPECT_TRUE(ends(grandchild));
}

TEST(Child, MissingProgram) {
  expect_error(ErrorCode::not_found, "run no-such-program-anywhere: No such file",
               [] { run_child({"no-such-program-anywhere"}); });
}

}  // namespace
}  // namespace mxq
