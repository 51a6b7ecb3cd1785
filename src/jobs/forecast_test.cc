// Forecasts: what they count, with a speed that is given; how near they are is for bench/forecast.py and e2e.forecast.
#include "mxq/forecast.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "expect_error.h"
#include "model/tiny_model.h"
#include "mxq/error.h"
#include "mxq/plan_model.h"
#include "mxq/runtime.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

/// 1 Gflop/s with many rows, a third of that with one; 10 ns a weight to measure it.
MachineSpeed given_speed() {
  MachineSpeed speed;
  speed.f32.seconds = {6e-9, 48 * 2e-9, 768 * 2e-9};
  speed.bf16 = speed.f32;
  speed.measured = 1e-8;
  return speed;
}

class Forecasts : public testing::Test {
 protected:
  Forecasts() {
    TinyModel("llama2").write(folder_ / "model");
    model_.emplace(folder_ / "model");
  }

  Forecast of(const MethodRequest& request, Job job = Job::quantize) const {
    return forecast(*model_, request, resolve(*model_, request), job, given_speed());
  }
  static MethodRequest with(std::vector<std::string> fields) {
    MethodRequest request;
    for (size_t i = 0; i < fields.size(); i += 2) find_method_field(fields[i])->set(request, fields[i + 1]);
    return request;
  }

  const TemporaryFolder folder_;
  std::optional<Model> model_;
};

TEST(MachineSpeed, BetweenMeasuredRowsInProportion) {
  const auto speed = given_speed().f32;
  EXPECT_DOUBLE_EQ(speed.of(1), 6e-9);
  EXPECT_DOUBLE_EQ(speed.of(48), 96e-9);
  EXPECT_NEAR(speed.of(24), 6e-9 + (96e-9 - 6e-9) * 23 / 47, 1e-15);
  EXPECT_NEAR(speed.of(1536), 2 * speed.of(768), 1e-12);
  EXPECT_NEAR(speed.operation(), 1e-9, 1e-15);
}

TEST(MachineSpeed, IsMeasuredOnce) {
  const MachineSpeed first = measure_speed(), again = measure_speed();
  EXPECT_EQ(first.f32.seconds, again.f32.seconds);
  EXPECT_EQ(first.bf16.seconds, again.bf16.seconds);
  EXPECT_GT(first.read_byte, 0);
  for (const double seconds : first.f32.seconds) EXPECT_GT(seconds, 0);
  Method method;
  method.schemes = {{4, 64}};
  EXPECT_GT(measure_speed(method).measured, 0);
}

TEST(Forecast, OneAfterAnother) {
  Forecast all{1, 100, 10};
  all += {2, 50, 5};
  EXPECT_EQ(all.seconds, 3);
  EXPECT_EQ(all.memory_bytes, 100);
  EXPECT_EQ(all.disk_bytes, 15) << "what was written stays";
}

TEST(Forecast, IsSaidInUnitsThatPeopleUse) {
  EXPECT_EQ(describe({190, 1288490189, 90 * kMiB}), "about 3 min and 1.2 GiB of memory; 90.0 MiB on disk");
  EXPECT_EQ(describe({12.3, 100 * kMiB, 0}), "about 12 s and 100.0 MiB of memory");
  EXPECT_EQ(describe({5 * 3600, kMiB, 0}), "about 5.0 h and 1.0 MiB of memory");
}

TEST_F(Forecasts, MoreWorkTakesLonger) {
  const auto streamed = of(with({"bits", "4", "objective", "rel", "fit", "mse"}));
  const auto calibrated = of(with({"bits", "4", "objective", "rel", "fit", "gptq"}));
  const auto planned = of(with({"bits", "4"}));
  const auto verified = of(with({"bits", "4", "verify", "true"}));
  const auto searched = of(with({"max-loss", "1%"}));
  EXPECT_LT(streamed.seconds, calibrated.seconds);
  EXPECT_LT(calibrated.seconds, planned.seconds);
  EXPECT_LT(planned.seconds, verified.seconds);
  EXPECT_LT(verified.seconds, searched.seconds);
  EXPECT_LT(streamed.memory_bytes, calibrated.memory_bytes);
  EXPECT_LE(streamed.memory_bytes, 512 * kMiB);
  EXPECT_LT(planned.disk_bytes, verified.disk_bytes);
}

TEST_F(Forecasts, OnlyCheckpointsTakeDisk) {
  const auto request = with({"size", "1MiB", "objective", "rel", "fit", "mse"});
  EXPECT_EQ(of(request).disk_bytes, kMiB) << "the budget";
  EXPECT_EQ(of(request, Job::plan).disk_bytes, 0);
  EXPECT_EQ(of(request, Job::measure).disk_bytes, 0);
  EXPECT_LT(of(request, Job::measure).seconds, of(request).seconds);
}

TEST_F(Forecasts, ACarriedOutPlanIsNotMeasuredAgain) {
  const auto request = with({"bits", "4", "objective", "rel", "fit", "mse"});
  const Method method = resolve(*model_, request);
  PlanFile plan = pose(*model_, request, method, {}).plan(method);
  const Forecast carried_out = forecast(*model_, plan, given_speed()), all = of(request);
  EXPECT_LT(carried_out.seconds, all.seconds);
  EXPECT_EQ(carried_out.disk_bytes, all.disk_bytes + plan.plan.bytes - plan.plan.budget_bytes);
  plan.plan.matrices.front().name = "nobody";
  expect_error(ErrorCode::usage, "e.g. 'nobody'", [&] { forecast(*model_, plan, given_speed()); });
}

// What each token of a text reads: all weights, and keys and values of half of the text's tokens, a byte of which takes
// twice as long.
TEST_F(Forecasts, GenerationReadsWeightsAndCache) {
  const auto config = TinyModel("llama2").config;
  const auto of = [&](const char* field) { return config[field].get<double>(); };
  const double hidden = of("hidden_size"), layers = of("num_hidden_layers"), heads = of("num_attention_heads"),
               keys = hidden / heads * of("num_key_value_heads"),
               layer = 2 * hidden * (hidden + keys) + 3 * hidden * of("intermediate_size"), tokens = 1000;
  MachineSpeed speed = given_speed();
  const auto seconds = [&] { return forecast_generation(*model_, 1, 1000, {}, speed).seconds; };
  const double before = seconds();
  speed.read_byte = 1;
  const double bytes = 4 * tokens * (layers * layer + hidden * of("vocab_size") + 2 * tokens / 2 * layers * 2 * keys);
  EXPECT_NEAR(seconds() - before, bytes, 1e-6 * bytes);
}

TEST_F(Forecasts, BudgetsOutOfReachHaveNone) {
  expect_error(ErrorCode::infeasible, "expected at least ", [&] { of(with({"size", "1KiB"}), Job::plan); });
  expect_error(ErrorCode::infeasible, "expected at least ", [&] { of(with({"bits", "1"})); });
  expect_error(ErrorCode::usage, "no matrix has a name that matches", [&] {
    of(with({"bits", "4", "pin", "x=b4g64"}));
  });
}

TEST_F(Forecasts, ScoringTwoModelsTakesBoth) {
  ScoredText text{.tokens = 100000, .predictions = 50000, .window = 512};
  const auto scored = [&] { return forecast_evaluation(*model_, *model_, text, {}, given_speed()); };
  const auto one = scored();
  text.against = true;
  const auto both = scored();
  EXPECT_NEAR(both.seconds, 2 * one.seconds, 1e-9 * one.seconds);
  EXPECT_GT(both.memory_bytes, one.memory_bytes);
  EXPECT_EQ(both.disk_bytes, 0);
  text.keeps_logits = true;
  const int64_t words = TinyModel("llama2").config["vocab_size"].get<int64_t>();
  EXPECT_EQ(scored().disk_bytes, 50000 * words * 4);
  text.known_logits = true;
  EXPECT_EQ(scored().disk_bytes, 0);
  EXPECT_LT(scored().seconds, both.seconds);
}

TEST(Texts, AreCutAsTheyWillBe) {
  PerplexityOptions options;
  const ScoredText overlapping = text_of_bytes(40000, options);
  EXPECT_EQ(overlapping.tokens, 20000) << "four bytes a token, windows that overlap by half";
  EXPECT_EQ(overlapping.predictions, 10000);
  options.stride = options.window = 512;
  options.max_tokens = 1000;
  EXPECT_EQ(text_of_bytes(40000, options).tokens, 1000);
  EXPECT_EQ(text_of_bytes(400, options).tokens, 100) << "no more than there are";
  options = {};
  options.recipe = Recipe::llama_cpp;
  EXPECT_EQ(text_of_bytes(40000, options).tokens, 10000);
  EXPECT_EQ(text_of_bytes(40000, options).predictions, 5000);
  EXPECT_EQ(sampled_text(SelfText{}).tokens, 8 * 256);
}

TEST_F(Forecasts, WhatTheMachineCannotHoldIsRefused) {
  const Forecast needs{10, 3000 * kMiB, 200 * kMiB};
  const std::filesystem::path out = folder_ / "out";
  check_room("quantize", "this", needs, {out, 3000 * kMiB, 1, 200 * kMiB});
  check_room("quantize", "this", needs, {});
  expect_error(ErrorCode::infeasible,
               "quantize: this needs about 2.9 GiB of memory; expected at most the 1.0 GiB of this machine, as "
               "--objective rel --fit mse needs",
               [&] {
                 check_room("quantize", "this", needs, {out, 1024 * kMiB, {}, {}}, "--objective rel --fit mse");
               });
  expect_error(ErrorCode::infeasible, "needs about 200.0 MiB of disk; expected at most the 100.0 MiB that are left in",
               [&] {
                 check_room("quantize", "this", needs, {out, {}, {}, 100 * kMiB});
               });
}

TEST_F(Forecasts, TheOptionThatFitsIsNamed) {
  const auto request = with({"bits", "4"});
  const int64_t enough = of(with({"bits", "4", "objective", "rel", "fit", "mse"})).memory_bytes;
  const auto named = [&](const MethodRequest& asked, int64_t memory) {
    return smaller_method(*model_, asked, Job::quantize, {{}, memory, {}, {}});
  };
  EXPECT_EQ(named(request, enough), "--objective rel --fit mse");
  EXPECT_EQ(named(request, enough - 1), "");
  EXPECT_EQ(named(with({"uniform", "b4g64"}), enough), "--fit mse");
  EXPECT_EQ(named(with({"bits", "4", "verify", "true"}), enough), "") << "trials run the model";
  EXPECT_EQ(smaller_method(*model_, request, Job::quantize, {}), "");
}

TEST_F(Forecasts, AModelThatMemoryDoesNotHoldRunsPacked) {
  const auto request = with({"bits", "4"});
  const auto job = [&] { return of(request); };
  const auto room = [](int64_t memory) { return Room{{}, memory, {}, {}}; };
  const int64_t loaded = job().memory_bytes;
  model_->run_packed();
  const int64_t packed = job().memory_bytes;
  EXPECT_LT(packed, loaded);
  model_->run_packed(false);

  EXPECT_EQ(fit_into({}, *model_, job).memory_bytes, loaded) << "nobody knows how much there is";
  EXPECT_EQ(fit_into(room(loaded), *model_, job).memory_bytes, loaded);
  EXPECT_FALSE(model_->runs_packed());
  EXPECT_EQ(fit_into(room(packed - 1), *model_, job).memory_bytes, loaded) << "neither way";
  EXPECT_FALSE(model_->runs_packed());
  EXPECT_EQ(fit_into(room(loaded - 1), *model_, job).memory_bytes, packed);
  EXPECT_TRUE(model_->runs_packed());
}

TEST_F(Forecasts, RoomIsThatOfTheNearestFolder) {
  const Room room = room_at(folder_ / "not" / "there" / "yet");
  EXPECT_EQ(room.folder, folder_.path());
  EXPECT_GT(room.disk_bytes, 0);
  EXPECT_EQ(room.memory_bytes, total_memory_bytes());
  EXPECT_GT(room.free_memory_bytes, 0);
  EXPECT_EQ(room_at({}).disk_bytes, std::nullopt);
}

}  // namespace
}  // namespace mxq
