// Jobs on one Model share what each of them needs: the loaded weights, the text that the model samples, its content id.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "model/model_state.h"
#include "model/tiny_model.h"
#include "mxq/measure.h"
#include "mxq/quantize_model.h"
#include "mxq/sensitivity.h"
#include "mxq/trials.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

class Phases : public Progress {
 public:
  void begin(std::string_view phase, int64_t) override { phases_.emplace_back(phase); }
  int64_t count(const std::string& phase) const { return std::count(phases_.begin(), phases_.end(), phase); }

 private:
  std::vector<std::string> phases_;
};

/// A tiny Llama with a tokenizer of its own words.
void write_model(const std::filesystem::path& folder) {
  TinyModel tiny("llama2");
  tiny.write(folder);
  std::string vocab;
  for (int i = 0; i < tiny.config["vocab_size"].get<int>(); ++i) {
    vocab += (i ? ", " : "") + ("\"w" + std::to_string(i) + "\": " + std::to_string(i));
  }
  write_file(folder / "tokenizer.json",
             R"({"version": "1.0", "added_tokens": [{"id": 1, "content": "w1", "special": true}], "normalizer": null,
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "post_processor": null, "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "merges": [], "vocab": {)" +
                 vocab + "}}}");
  write_file(folder / "tokenizer_config.json", R"({"bos_token": "w1", "eos_token": "w2"})");
}

struct Jobs : testing::Test {
  void SetUp() override {
    std::filesystem::create_directory(folder.path() / "model");
    write_model(folder.path() / "model");
    method.quantize = {Fit::gptq, 1, Metadata::q8, Normalize::rotation};
    method.calibration.kind = CalibrationText::Kind::self;
    method.calibration.sequences = 4;
    method.calibration.tokens = 24;
    sensitivity.text = probe_text(24);
    sensitivity.quantize = method.quantize;
    sensitivity.calibration = method.calibration;
    allocation.objective = Objective::kl;
  }

  ErrorTable measured(const Model& model) {
    MeasureOptions options;
    options.schemes = parse_schemes("b2g32,b4g32,b8g32");
    options.quantize = method.quantize;
    ErrorTable table = measure_model(model, options, &phases).table;
    measure_sensitivity(model, table, sensitivity, &phases);
    return table;
  }

  TemporaryFolder folder;
  PlanFile method;
  SensitivityOptions sensitivity;
  AllocateOptions allocation;
  Phases phases;
};

TEST_F(Jobs, ModelIsLoadedAndSampledFromOnce) {
  const Model model(folder.path() / "model");
  const ErrorTable table = measured(model);
  method.plan = allocate(table, reachable_bytes(table, allocation).largest, allocation);
  quantize_model(model, folder.path() / "out", method, {}, &phases);
  EXPECT_EQ(phases.count("load"), 1);
  EXPECT_EQ(phases.count("sample"), 1);
}

TEST_F(Jobs, FittingAModelLeavesItAsItIs) {
  const Model model(folder.path() / "model");
  const ErrorTable table = measured(model);
  method.plan = allocate(table, reachable_bytes(table, allocation).smallest, allocation);
  Progress silent;
  const std::vector<int32_t> ids{3, 1, 4, 1, 5, 9};
  Runner& runner = model.state().runner(model.state().run(), silent);
  const auto before = runner.hidden(ids);
  quantize_model(model, folder.path() / "out", method, {}, &phases);
  EXPECT_EQ(&model.state().runner(model.state().run(), silent), &runner) << "still loaded";
  EXPECT_EQ(runner.hidden(ids), before);
}

// In fp32 products are the same, however the weights are held.
TEST_F(Jobs, AModelThatStaysInItsFilesIsFittedAlike) {
  sensitivity.compute = Compute::f32;
  const Model loaded(folder.path() / "model"), packed(folder.path() / "model");
  packed.run_packed();
  const ErrorTable table = measured(loaded), again = measured(packed);
  for (size_t i = 0; i < table.matrices.size(); ++i) {
    const auto &a = table.matrices[i], &b = again.matrices[i];
    EXPECT_NEAR(b.sensitivity, a.sensitivity, 1e-3 * a.sensitivity) << a.name;
  }
  allocation.min_bits = 8;
  method.plan = allocate(table, reachable_bytes(table, allocation).smallest, allocation);
  quantize_model(packed, folder.path() / "out", method, {}, &phases);
  const auto kl =
      compare_models(folder.path() / "out", loaded, SelfText{.sequences = 2, .tokens = 16, .sampling = {}}).kl.mean;
  EXPECT_LT(kl, 1e-3);
  EXPECT_GT(kl, 0);
}

TEST_F(Jobs, SeparateModelsWriteTheSameBytes) {
  const Model one(folder.path() / "model");
  const ErrorTable table = measured(one), again = measured(folder.path() / "model");
  ASSERT_EQ(write_error_table(table), write_error_table(again));
  method.plan = allocate(table, reachable_bytes(table, allocation).largest, allocation);
  quantize_model(one, folder.path() / "one", method);
  quantize_model(folder.path() / "model", folder.path() / "other", method);
  EXPECT_EQ(read_file(folder.path() / "one/model.safetensors"), read_file(folder.path() / "other/model.safetensors"));
}

TEST_F(Jobs, TrialsRunTheModelOnceThatTheyCompareWith) {
  const Model model(folder.path() / "model");
  const ErrorTable table = measured(model);
  const int64_t sampled = phases.count("sample"), loaded = phases.count("load");
  TrialOptions options;
  options.self = {.sequences = 4, .tokens = 16, .sampling = {.seed = 5}};
  options.perplexity.run.compute = best_compute();
  std::vector<PlanFile> plans(3, method);
  for (size_t i = 0; i < plans.size(); ++i) {
    allocation.min_bits = std::array{2, 4, 8}[i];
    plans[i].plan = allocate(table, reachable_bytes(table, allocation).smallest, allocation);
  }
  const auto report = quantize_best(model, folder.path() / "out", plans, options, {}, &phases);
  ASSERT_EQ(report.trials.size(), 3);
  EXPECT_EQ(phases.count("sample") - sampled, 1);
  // Each checkpoint once. The model, which measuring loaded, leaves memory when its logits are known, and is loaded
  // again for the third fit.
  EXPECT_EQ(phases.count("load") - loaded, 3 + 1);
}

TEST_F(Jobs, ContentIdTellsWeightsAndConfigApart) {
  const std::filesystem::path path = folder.path() / "model";
  const std::string before = Model(path).content_id();
  EXPECT_EQ(Model(path).content_id(), before);
  std::string config = read_file(path / "config.json");
  write_file(path / "config.json", config + " ");
  EXPECT_NE(Model(path).content_id(), before);
  write_file(path / "config.json", config);
  std::string weights = read_file(path / "model.safetensors");
  weights.back() ^= 1;
  write_file(path / "model.safetensors", weights);
  EXPECT_NE(Model(path).content_id(), before);
}

TEST_F(Jobs, CopiesShareOneModel) {
  const Model model(folder.path() / "model");
  const Model copy = model;
  EXPECT_EQ(&copy.state(), &model.state());
  EXPECT_FALSE(model.why_not_runnable()) << *model.why_not_runnable();
  EXPECT_EQ(copy.architecture(), "llama");
}

}  // namespace
}  // namespace mxq
