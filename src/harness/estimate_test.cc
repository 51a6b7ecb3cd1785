// Estimates: what they count, by hand; how near they are is looked at in docs/reference/bench.md's terms, not here.
#include <gtest/gtest.h>

#include <fstream>

#include "expect_error.h"
#include "format/safetensors_writer.h"
#include "model/decoder/tiny_model.h"
#include "mxq/error.h"
#include "mxq/experiment.h"
#include "mxq/runtime.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

constexpr int64_t kWeights = int64_t{4096} * 1024;
constexpr int64_t kBase = int64_t{512} << 20;

class Estimate : public testing::Test {
 protected:
  Estimate() {
    SafetensorsWriter writer(folder_ / "model.safetensors",
                             {{"model.layers.0.mlp.up_proj.weight", DType::bf16, {4096, 1024}}});
    writer.write(std::vector<std::byte>(2 * kWeights));
    writer.commit();
    run_.model_path = folder_ / "model.safetensors";
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

TEST_F(Estimate, TheOriginalTakesNoDisk) {
  run_.original = true;
  const auto found = estimate_run(run_);
  EXPECT_EQ(found.disk_bytes, 0);
  EXPECT_EQ(found.seconds, 0);
  EXPECT_EQ(found.memory_bytes, kBase);
}

TEST_F(Estimate, ACheckpointIsAtMostWhatTheModelWas) {
  EXPECT_EQ(estimate_run(with({"--uniform", "b4g64", "--fit", "rtn"})).disk_bytes, 2 * kWeights);
}

TEST_F(Estimate, PlainWeightsForCommandsTakeTwoBytesEach) {
  auto run = with({"--uniform", "b4g64", "--fit", "rtn"});
  run.commands.push_back({"x", {"program", "{plain}"}});
  run.commands.push_back({"y", {"program", "{plain}/config.json"}});
  EXPECT_EQ(estimate_run(run).disk_bytes, 4 * kWeights);
}

TEST_F(Estimate, ScoringAgainstTheOriginalHoldsBothModels) {
  auto run = with({"--uniform", "b4g64", "--fit", "rtn"});
  const double alone = estimate_run(run).seconds;
  run.scorings.push_back({"text", false, {"--tokens", "1000"}, folder_ / "text"});
  const auto one = estimate_run(run);
  run.scorings[0].against_original = true;
  const auto both = estimate_run(run);
  run.scorings[0].flags = {"--tokens", "1000", "--compute", "bf16"};
  const auto half = estimate_run(run);
  EXPECT_EQ(one.memory_bytes, 4 * kWeights + 2 * kBase);
  EXPECT_EQ(both.memory_bytes, 8 * kWeights + 2 * kBase);
  EXPECT_EQ(half.memory_bytes, 4 * kWeights + 2 * kBase);
  EXPECT_DOUBLE_EQ(both.seconds - alone, 2 * (one.seconds - alone));
  EXPECT_LT(half.seconds, both.seconds);
}

TEST_F(Estimate, KeptLogitsOfTheOriginalTakeDiskForItsTime) {
  std::filesystem::create_directory(folder_ / "model");
  std::filesystem::rename(folder_ / "model.safetensors", folder_ / "model" / "model.safetensors");
  std::ofstream(folder_ / "model" / "config.json")
      << R"({"model_type": "llama", "hidden_size": 1024, "num_hidden_layers": 1, "num_attention_heads": 16,
             "intermediate_size": 4096, "vocab_size": 500, "rms_norm_eps": 1e-5})";
  run_.model_path = folder_ / "model";
  auto run = with({"--uniform", "b4g64", "--fit", "rtn"});
  const double alone = estimate_run(run).seconds;
  run.scorings.push_back({"text", true, {"--tokens", "1000", "--window", "100", "--stride", "50"}, folder_ / "text"});
  const auto both = estimate_run(run);
  run.scorings[0].base_logits = true;
  const auto kept = estimate_run(run);
  EXPECT_EQ(kept.disk_bytes - both.disk_bytes, 1000 * 500 * 4);
  EXPECT_DOUBLE_EQ(both.seconds - alone, 2 * (kept.seconds - alone));
}

TEST_F(Estimate, TokensOfTexts) {
  const auto seconds = [&](std::vector<std::string> flags, bool own = false) {
    auto run = run_;
    run.original = true;
    run.scorings.push_back({"t", false, std::move(flags), own ? std::filesystem::path() : folder_ / "text"});
    return estimate_run(run).seconds;
  };
  const double thousand = seconds({"--tokens", "1000", "--window", "64", "--stride", "64"});
  // Four bytes a token.
  EXPECT_DOUBLE_EQ(seconds({"--recipe", "llama.cpp"}), 10 * thousand);
  EXPECT_DOUBLE_EQ(seconds({"--recipe", "llama.cpp", "--tokens", "50000"}), 10 * thousand) << "no more than there are";
  EXPECT_DOUBLE_EQ(seconds({}), 20 * thousand) << "windows that overlap by half";
  EXPECT_DOUBLE_EQ(seconds({"--tokens", "1000", "--window", "64", "--stride", "16"}), 4 * thousand);
  // 8 sequences of 256, sampled and scored.
  EXPECT_DOUBLE_EQ(seconds({}, true), 2 * 2.048 * thousand);
  EXPECT_GT(seconds({"--recipe", "llama.cpp", "--packed"}), 10 * thousand);
}

TEST_F(Estimate, PackedWeightsTakeWhatFilesDo) {
  run_.original = true;
  run_.scorings.push_back({"t", false, {"--packed"}, folder_ / "text"});
  EXPECT_EQ(estimate_run(run_).memory_bytes, 2 * kWeights + 2 * kBase);
}

TEST_F(Estimate, WhatLooksAtWeightsAloneIsQuick) {
  const auto rounded = estimate_run(with({"--uniform", "b4g64", "--fit", "rtn"}));
  for (const char* scheme : {"nf4g64", "fp4g32"}) {
    const auto published = estimate_run(with({"--uniform", scheme}));
    EXPECT_EQ(published.seconds, rounded.seconds) << scheme << " is rounded, unless told otherwise";
    EXPECT_EQ(published.memory_bytes, rounded.memory_bytes);
  }
  const double none = estimate_run(with({"--uniform", "b4g64", "--fit", "mse", "--calibration", "none"})).seconds;
  const double self = estimate_run(with({"--uniform", "b4g64", "--fit", "mse", "--calibration", "self"})).seconds;
  EXPECT_EQ(none, rounded.seconds);
  EXPECT_GT(self, none);
}

TEST_F(Estimate, WhatCannotFitIsRefused) {
  const auto run = with({"--uniform", "b4g64", "--fit", "rtn"});
  const auto needs = estimate_run(run);
  check_room(run, needs, {folder_.path(), needs.memory_bytes, needs.disk_bytes});
  check_room(run, needs, {folder_.path(), {}, {}});
  expect_error(ErrorCode::infeasible, "needs about 512.0 MiB of memory; expected at most the 512.0 MiB of this", [&] {
    check_room(run, needs, {folder_.path(), needs.memory_bytes - 1, {}});
  });
  expect_error(ErrorCode::infeasible, "needs about 8.0 MiB of disk; expected ", [&] {
    check_room(run, needs, {folder_.path(), {}, needs.disk_bytes - 1});
  });
  const auto room = room_beside(folder_ / "store.db");
  EXPECT_EQ(room.folder, folder_.path());
  EXPECT_GT(room.memory_bytes, 0);
  EXPECT_GT(room.disk_bytes, 0);
}

TEST_F(Estimate, CalibratingAndPlanningTakeLonger) {
  run_.model_path = folder_ / "tiny";  // one that can be run
  std::filesystem::create_directory(run_.model_path);
  TinyModel("llama2").write(run_.model_path);
  const double rounded = estimate_run(with({"--uniform", "b4g64", "--fit", "rtn"})).seconds;
  const double calibrated = estimate_run(with({"--uniform", "b4g64", "--fit", "gptq"})).seconds;
  const double planned = estimate_run(with({"--bits", "3.25"})).seconds;
  const double weights_alone = estimate_run(with({"--bits", "3.25", "--fit", "mse", "--objective", "rel"})).seconds;
  EXPECT_LT(rounded, calibrated);
  EXPECT_LT(calibrated, planned);
  EXPECT_LT(weights_alone, planned);
}

}  // namespace
}  // namespace mxq
