// Doing runs, with a program in the place of mxq.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "harness/sqlite.h"
#include "mxq/experiment.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

namespace fs = std::filesystem;

class Worker : public testing::Test {
 protected:
  Worker() {
    std::ofstream(folder_ / "model") << "weights";
    options_.program = folder_ / "program";
    run_.model = "m";
    run_.method = "original";
    run_.original = true;
    run_.model_path = folder_ / "model";
    program("echo '{\"parameters\": 5}'");
  }

  void program(const std::string& script) const {
    std::ofstream(options_.program) << "#!/bin/sh\ncd " << folder_.path().string() << "\n" << script << "\n";
    fs::permissions(options_.program, fs::perms::owner_all);
  }

  WorkReport work() {
    auto store = ResultStore::create(store_);
    return work_on({{}, {run_}}, store, options_);
  }
  StoredRun only() const { return ResultStore::open(store_).runs().at(0); }

  const TemporaryFolder folder_;
  const fs::path store_ = folder_ / "store.db";
  ExperimentRun run_;
  WorkOptions options_;
};

TEST_F(Worker, WaitsForALockedStoreAndLosesNothing) {
  // The lock is there from the middle of the run on, until the worker says that it waits for it.
  program("touch started; until test -e locked; do sleep 0.01; done; echo '{\"parameters\": 5}'");
  ResultStore::create(store_);
  Database other(store_, Access::write);
  std::string said;
  options_.on_wait = [&](const std::string& why) {
    said = why;
    other.execute("ROLLBACK");
  };
  std::thread locker([&] {
    while (!fs::exists(folder_ / "started")) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    other.execute("BEGIN IMMEDIATE");
    std::ofstream(folder_ / "locked");
  });
  const auto report = work();
  locker.join();
  EXPECT_EQ(report.done, 1);
  EXPECT_NE(said.find("locked by another program"), std::string::npos) << said;
  EXPECT_EQ(only().state, RunState::done);
  EXPECT_EQ(only().metrics.at("parameters"), 5);
}

TEST_F(Worker, WhatProgramsSayNeedNotBeText) {
  program("printf 'caf\\351\\n' >&2; exit 3");
  EXPECT_EQ(work().failed, 1);
  EXPECT_EQ(only().error, "inspect: exit code 3: caf\xEF\xBF\xBD") << "the replacement character";
}

TEST_F(Worker, NumbersOfNestedJsonAreMetrics) {
  run_.commands.push_back(
      {"lm-eval",
       {"echo", R"({"results": {"arc": {"acc,none": 0.5, "alias": "arc"}, "n": [1, 2]}, "seconds": 3, "ok": true})"}});
  EXPECT_EQ(work().done, 1);
  const auto metrics = only().metrics;
  EXPECT_EQ(metrics.at("lm-eval.results.arc.acc,none"), 0.5);
  EXPECT_EQ(metrics.at("lm-eval.seconds"), 3);
  EXPECT_EQ(metrics.size(), 4u) << "with parameters and the command's seconds";
}

TEST_F(Worker, LeavesNothingBesideTheStore) {
  work();
  EXPECT_FALSE(fs::exists(store_.string() + ".work"));
  program("exit 1");
  run_.method = "other";
  run_.original = false;
  EXPECT_EQ(work().failed, 1);
  EXPECT_FALSE(fs::exists(store_.string() + ".work"));
}

}  // namespace
}  // namespace mxq
