// Programs in processes of their own.
#include "harness/child.h"

#include <gtest/gtest.h>

#include "expect_error.h"
#include "mxq/error.h"

namespace mxq {
namespace {

TEST(Child, GivesOutputLogAndExitCode) {
  const auto child = run_child({"sh", "-c", "echo out; echo first >&2; echo last >&2; exit 3"});
  EXPECT_EQ(child.exit_code, 3);
  EXPECT_EQ(child.output, "out\n");
  EXPECT_EQ(child.log, "first\nlast\n");
  EXPECT_GT(child.peak_rss_bytes, 0);
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

TEST(Child, MissingProgram) {
  expect_error(ErrorCode::not_found, "run no-such-program-anywhere: No such file",
               [] { run_child({"no-such-program-anywhere"}); });
}

}  // namespace
}  // namespace mxq
