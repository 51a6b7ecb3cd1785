// Estimates of runs: that they are the forecasts of their steps (jobs/forecast_test.cc), one after another.
#include <gtest/gtest.h>

#include <fstream>

#include "expect_error.h"
#include "model/tiny_model.h"
#include "mxq/error.h"
#include "mxq/experiment.h"
#include "mxq/quantize_model.h"
#include "mxq/runtime.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

class Estimate : public testing::Test {
 protected:
  Estimate() {
    TinyModel("llama2").write(folder_ / "model");
    run_.model_path = folder_ / "model";
    std::ofstream(folder_ / "text") << std::string(40000, 'x');
  }

  ExperimentRun with(std::vector<std::string> flags) const {
    ExperimentRun run = run_;
    for (size_t i = 0; i < flags.size(); i += 2) find_method_field(flags[i].substr(2))->set(run.request, flags[i + 1]);
    return run;
  }

  const TemporaryFolder folder_;
  ExperimentRun run_;
};

TEST_F(Estimate, TheOriginalTakesNothing) {
  run_.original = true;
  const auto found = estimate_run(run_);
  EXPECT_EQ(found.disk_bytes, 0);
  EXPECT_EQ(found.seconds, 0);
  EXPECT_EQ(found.memory_bytes, 0);
}

TEST_F(Estimate, QuantizingIsTheJobsForecast) {
  const auto run = with({"--bits", "4"});
  const Model model(run.model_path);
  const Method method = resolve(model, run.request);
  const Forecast job = forecast(model, run.request, method, Job::quantize, measure_speed(method));
  const Forecast found = estimate_run(run);
  EXPECT_EQ(found.seconds, job.seconds);
  EXPECT_EQ(found.memory_bytes, job.memory_bytes);
  EXPECT_EQ(found.disk_bytes, job.disk_bytes);
}

TEST_F(Estimate, PlainWeightsForCommandsTakeTwoBytesEach) {
  auto run = with({"--uniform", "b4g32", "--fit", "rtn"});
  const int64_t alone = estimate_run(run).disk_bytes;
  run.commands.push_back({"x", {"program", "{plain}"}});
  run.commands.push_back({"y", {"program", "{plain}/config.json"}});
  EXPECT_EQ(estimate_run(run).disk_bytes - alone, 2 * weight_bytes(run.model_path).weights);
}

TEST_F(Estimate, ScoringsAreAdded) {
  run_.original = true;
  const auto seconds = [&](std::vector<std::string> flags, bool own = false) {
    auto run = run_;
    run.scorings.push_back({"t", false, std::move(flags), own ? std::filesystem::path() : folder_ / "text"});
    return estimate_run(run).seconds;
  };
  const double some = seconds({"--tokens", "1000", "--window", "64", "--stride", "64"});
  EXPECT_GT(some, 0);
  EXPECT_GT(seconds({"--recipe", "llama.cpp"}), some);
  EXPECT_GT(seconds({"--recipe", "llama.cpp", "--packed"}), seconds({"--recipe", "llama.cpp"}) / 2);
  EXPECT_GT(seconds({}, true), 0);
  auto run = run_;
  run.scorings.assign(2, {"t", false, {"--tokens", "1000", "--window", "64", "--stride", "64"}, folder_ / "text"});
  EXPECT_DOUBLE_EQ(estimate_run(run).seconds, 2 * some);
}

TEST_F(Estimate, ScoringAgainstTheOriginalHoldsBothModels) {
  auto run = with({"--uniform", "b4g32", "--fit", "rtn"});
  const auto alone = estimate_run(run);
  run.scorings.push_back({"text", false, {"--tokens", "1000"}, folder_ / "text"});
  const auto one = estimate_run(run);
  run.scorings[0].against_original = true;
  const auto both = estimate_run(run);
  EXPECT_NEAR(both.seconds - alone.seconds, 2 * (one.seconds - alone.seconds), 1e-9);
  run.scorings[0].base_logits = true;
  EXPECT_LT(estimate_run(run).seconds, both.seconds);
  const int64_t words = TinyModel("llama2").config["vocab_size"].get<int64_t>();
  EXPECT_EQ(estimate_run(run).disk_bytes - both.disk_bytes, 1000 * words * 4);
}

TEST_F(Estimate, WhatCannotFitIsRefused) {
  const auto run = with({"--uniform", "b4g32", "--fit", "rtn"});
  const auto needs = estimate_run(run);
  check_room(run, needs, {folder_.path(), needs.memory_bytes, {}, needs.disk_bytes});
  check_room(run, needs, {folder_.path(), {}, {}, {}});
  expect_error(ErrorCode::infeasible, "of memory; expected at most the ", [&] {
    check_room(run, needs, {folder_.path(), needs.memory_bytes - 1, {}, {}});
  });
  expect_error(ErrorCode::infeasible, "of disk; expected at most the ", [&] {
    check_room(run, needs, {folder_.path(), {}, {}, needs.disk_bytes - 1});
  });
  const auto room = room_beside(folder_ / "store.db");
  EXPECT_EQ(room.folder, folder_.path());
  EXPECT_GT(room.memory_bytes, 0);
  EXPECT_GT(room.disk_bytes, 0);
}

}  // namespace
}  // namespace mxq
