#include "cli/say_forecast.h"

#include <gtest/gtest.h>

#include "cli/captured_log.h"
#include "expect_error.h"
#include "temporary_folder.h"

namespace mxq::cli {
namespace {

std::string announced(const Forecast& needs, const std::filesystem::path& output = {}) {
  const CapturedLog log;
  announce("quantize", needs, output);
  return log.text();
}

TEST(Announced, OnlyWhatTakesMoreThanASecond) {
  EXPECT_EQ(announced({1.0, 1 << 20, 0}), "");
  EXPECT_EQ(announced({61, int64_t{1} << 20, 0}), "info: about 61 s and 1.0 MiB of memory\n");
  const TemporaryFolder folder;
  EXPECT_EQ(announced({600, int64_t{1} << 20, 2048}, folder.path() / "out"),
            "info: about 10 min and 1.0 MiB of memory; 2.0 KiB on disk\n");
}

TEST(Announced, MoreMemoryThanIsFree) {
  const Room room = room_at({});
  ASSERT_TRUE(room.memory_bytes);
  const std::string text = announced({0.1, *room.memory_bytes, 0});
  // Where a control group has less memory than the machine has free, all of it may be taken.
  const bool free = !room.free_memory_bytes || *room.free_memory_bytes >= *room.memory_bytes;
  EXPECT_EQ(text.find("warning: about ") != std::string::npos, !free) << text;
}

TEST(Announced, WhatTheMachineLacksIsRefused) {
  expect_error(ErrorCode::infeasible, "quantize: this needs about ", [] { announced({1, int64_t{1} << 60, 0}); });
  expect_error(ErrorCode::infeasible, ", as --fit mse needs", [] {
    announce("quantize", {1, int64_t{1} << 60, 0}, {}, "--fit mse");
  });
  const TemporaryFolder folder;
  expect_error(ErrorCode::infeasible, "of disk", [&] { announced({1, 0, int64_t{1} << 60}, folder.path() / "out"); });
}

}  // namespace
}  // namespace mxq::cli
