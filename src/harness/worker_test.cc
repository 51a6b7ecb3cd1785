// Doing runs, with a program in the place of mxq.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "format/safetensors_writer.h"
#include "harness/sqlite.h"
#include "mxq/experiment.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

namespace fs = std::filesystem;

class Worker : public testing::Test {
 protected:
  Worker() {
    SafetensorsWriter writer(folder_ / "model.safetensors",
                             {{"model.layers.0.mlp.up_proj.weight", DType::bf16, {64, 64}}});
    writer.write(std::vector<std::byte>(2 * 64 * 64));
    writer.commit();
    options_.program = folder_ / "program";
    run_.model = "m";
    run_.method = "original";
    run_.original = true;
    run_.model_path = folder_ / "model.safetensors";
    program("echo '{\"parameters\": 5}'");
  }

  void program(const std::string& script) const {
    std::ofstream(options_.program) << "#!/bin/sh\ncd " << folder_.path().string() << "\n" << script << "\n";
    fs::permissions(options_.program, fs::perms::owner_all);
  }

  WorkReport work() {
    auto store = ResultStore::create(store_);
    Experiment experiment{{}, {run_}};
    return work_on(experiment, store, options_);
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

TEST_F(Worker, TheOriginalHas16BitsWhereItsMatricesDo) {
  program(R"(echo '{"parameters": 5, "matrices": [{"dtype": "BF16"}, {"dtype": "F16"}]}')");
  work();
  EXPECT_EQ(only().metrics.at("bits_per_parameter"), 16);
  program(R"(echo '{"parameters": 6, "matrices": [{"dtype": "BF16"}, {"dtype": "Q4_1"}]}')");
  run_.commands.push_back({"another", {"true"}});
  work();
  EXPECT_FALSE(only().metrics.contains("bits_per_parameter"));
}

TEST_F(Worker, OnlyItsOwnFailuresAreReported) {
  program("exit 1");
  EXPECT_EQ(work().failures.size(), 1u);
  auto again = work();
  EXPECT_EQ(again.failed, 0);
  EXPECT_EQ(again.failed_before, 1);
  EXPECT_EQ(again.failures.at(0).label(), "m original");
  program("echo '{}'");
  run_.method = "another";
  run_.commands.push_back({"c", {"true"}});
  EXPECT_TRUE(work().failures.empty());
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
