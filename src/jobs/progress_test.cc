// How jobs tell what they are doing: no phase is silent for long.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "model/tiny_model.h"
#include "mxq/evaluate.h"
#include "mxq/inspect.h"
#include "mxq/quantize.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

/// The largest part of each phase that went by between two updates.
class Steps : public Progress {
 public:
  void begin(std::string_view phase, int64_t total) override {
    phase_ = phase;
    total_ = total;
    done_ = 0;
    largest[phase_] = std::max(largest[phase_], 0.0);
  }
  void update(int64_t done) override {
    EXPECT_GE(done, done_) << phase_;
    EXPECT_LE(done, total_) << phase_;
    largest[phase_] = std::max(largest[phase_], share(done));
    done_ = done;
  }
  void end() override { largest[phase_] = std::max(largest[phase_], share(total_)); }

  std::map<std::string, double> largest;

 private:
  double share(int64_t done) const {
    return static_cast<double>(done - done_) / static_cast<double>(std::max<int64_t>(1, total_));
  }

  std::string phase_;
  int64_t total_ = 0, done_ = 0;
};

/// The tiny Llama with so many layers that a matrix is a small part of it.
void write_deep_model(const std::filesystem::path& folder) {
  constexpr int kLayers = 16;
  TinyModel tiny("llama2");
  const std::string first = "model.layers.0.";
  const auto shallow = tiny.tensors;
  for (const auto& [name, tensor] : shallow) {
    if (!name.starts_with(first)) continue;
    for (int layer = 2; layer < kLayers; ++layer) {
      tiny.tensors["model.layers." + std::to_string(layer) + "." + name.substr(first.size())] = tensor;
    }
  }
  tiny.config["num_hidden_layers"] = kLayers;
  tiny.write(folder);
}

TEST(Progress, NoPhaseIsSilentForLong) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "model");
  write_deep_model(folder / "model");
  const Model model(folder / "model");
  Steps steps;
  inspect_model(model, &steps);
  QuantizeJob job;
  job.request.bits = parse_bits_budget("4");
  job.request.calibration_tokens = 512;
  job.request.sample_tokens = 256;
  job.write.cache = folder / "cache";
  quantize(model, folder / "out", resolve(model, job.request), job, &steps);
  dequantize_model(folder / "out", folder / "plain", {}, {}, &steps);
  measure_perplexity(model, SelfText{.sequences = 32, .tokens = 256, .sampling = {}}, {}, &steps);
  for (const char* phase :
       {"inspect", "measure", "load", "hash", "sample", "fit probes", "outputs", "sensitivity", "write", "evaluate"}) {
    ASSERT_TRUE(steps.largest.contains(phase)) << phase;
  }
  for (const auto& [phase, share] : steps.largest) EXPECT_LE(share, 0.25) << phase;
}

TEST(Progress, PlansOfAFrontierAreTold) {
  ErrorTable table;
  for (int i = 0; i < 4; ++i) {
    MatrixErrors matrix;
    matrix.name = "m" + std::to_string(i);
    matrix.params = 1000;
    matrix.norm = 1;
    matrix.schemes = {{"b2g64", 300, 0.5}, {"b4g64", 600, 0.1}};
    table.matrices.push_back(matrix);
  }
  Steps steps;
  frontier(table, 1000, {}, &steps);
  EXPECT_LE(steps.largest.at("solve"), 0.1);
}

}  // namespace
}  // namespace mxq
