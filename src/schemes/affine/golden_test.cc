// rtn and hqq with fp32 metadata against codes, scales, zeros and errors made with hqq 0.2.8 (data/hqq-golden).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "base/bitpack.h"
#include "format/safetensors.h"
#include "mxq/files.h"
#include "mxq/quantized_matrix.h"
#include "shared_data.h"

namespace mxq {
namespace {

class Golden : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    MXQ_NEEDS_SHARED_DATA("hqq-golden");
    const auto folder = shared_data("hqq-golden");
    store_ = open_safetensors(folder / (std::string(GetParam()) + ".safetensors"));
    for (const auto& entry : nlohmann::json::parse(read_file(folder / "frobenius.json"))) {
      if (entry.at("matrix") != GetParam()) continue;
      const auto key = "axis" + std::to_string(entry.at("axis").get<int>()) + ".b" +
                       std::to_string(entry.at("bits").get<int>()) + "g" +
                       std::to_string(entry.at("group").get<int>()) + "." + entry.at("method").get<std::string>();
      frobenius_[key] = entry.at("frobenius");
    }
    weight_ = values<float>("weight");
    shape_ = store_.find("weight")->shape;
  }

  template <typename Value>
  std::vector<Value> values(const std::string& name) const {
    const auto bytes = store_.find(name)->bytes;
    std::vector<Value> values(bytes.size() / sizeof(Value));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  TensorStore store_;
  std::map<std::string, double> frobenius_;
  std::vector<float> weight_;
  std::vector<int64_t> shape_;
};

TEST_P(Golden, RtnAndHqqAgree) {
  const bool adversarial = std::string(GetParam()) == "adversarial";
  const MatrixView matrix{weight_.data(), shape_[0], shape_[1]};
  for (const int axis : {0, 1}) {
    for (const Scheme& scheme : paper_schemes()) {
      for (const Fit fit : {Fit::rtn, Fit::hqq}) {
        const std::string key = "axis" + std::to_string(axis) + "." + scheme.name() + "." + std::string(fit_name(fit));
        SCOPED_TRACE(std::string(GetParam()) + " " + key);
        const QuantizeOptions options{fit, axis, Metadata::f32};
        const QuantizedMatrix quantized = quantize_matrix(matrix, scheme, options);

        // Both store the grouped matrix row-major: [groups, group] for axis 1, [group, groups] for axis 0.
        const auto expected = values<uint8_t>(key + ".codes");
        std::vector<uint8_t> codes(weight_.size());
        unpack_codes(quantized.part("codes"), scheme.bits, 0, matrix.size(), codes.data());
        ASSERT_EQ(codes.size(), expected.size());
        int64_t equal = 0;
        int furthest = 0;
        for (size_t i = 0; i < codes.size(); ++i) {
          equal += codes[i] == expected[i];
          furthest = std::max(furthest, std::abs(codes[i] - expected[i]));
        }
        EXPECT_LE(furthest, 1);
        const double share = static_cast<double>(equal) / static_cast<double>(codes.size());
        if (!adversarial) {
          EXPECT_GE(share, fit == Fit::rtn ? 0.9999 : 0.985);
        }

        std::vector<float> back(weight_.size());
        dequantize_matrix(quantized.view(), back.data());
        double sum = 0;
        for (size_t i = 0; i < back.size(); ++i) sum += std::pow(double{weight_[i]} - double{back[i]}, 2);
        const double error = std::sqrt(sum), golden = frobenius_.at(key);
        EXPECT_TRUE(std::isfinite(error));
        EXPECT_LE(error, golden * (adversarial ? 1.1 : 1.01));
        if (!adversarial) {
          EXPECT_GE(error, golden * 0.99);
        }
        if (!adversarial) {
          EXPECT_GE(error, golden * 0.99);
        }

        if (fit == Fit::rtn) {
          const auto scale = values<float>(key + ".scale");
          const auto zero = values<float>(key + ".zero");
          ASSERT_EQ(quantized.part("scales").size(), scale.size() * sizeof(float));
          for (size_t g = 0; g < scale.size(); ++g) {
            float ours[2];
            std::memcpy(&ours[0], quantized.part("scales").data() + 4 * g, 4);
            std::memcpy(&ours[1], quantized.part("zeros").data() + 4 * g, 4);
            ASSERT_NEAR(ours[0], scale[g], 1e-6 * std::fabs(scale[g])) << "group " << g;
            ASSERT_NEAR(ours[1], zero[g], 1e-6 * std::fabs(zero[g]) + 1e-12) << "group " << g;
          }
        }
        const std::vector<double> measured = measure_matrix(matrix, {&scheme, 1}, options);
        EXPECT_NEAR(measured[0], error, 1e-9 * error);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Matrices, Golden,
                         testing::Values("real_q_proj", "real_down_proj", "gaussian", "student_t", "adversarial"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace mxq
