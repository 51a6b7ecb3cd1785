// Estimates: what they count, by hand; how near they are is looked at in docs/bench.md's terms, not here.
#include <gtest/gtest.h>

#include "format/safetensors_writer.h"
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
  }

  ExperimentRun with(std::vector<std::string> flags) const {
    ExperimentRun run = run_;
    run.quantize = std::move(flags);
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
  run.scorings.push_back({"text", false, {"--tokens", "1000"}, "text"});
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

TEST_F(Estimate, CalibratingAndPlanningTakeLonger) {
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
