// Plans of mixtures for GGUF, where all experts of a layer and role are one tensor.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "expect_error.h"
#include "export/target.h"
#include "model/model_state.h"
#include "model/tiny_model.h"
#include "mxq/measure.h"
#include "mxq/method.h"
#include "mxq/quantize_model.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

double lost_share(const ModelSource& original, const ModelSource& made, const SourceTensor& tensor) {
  const SourceTensor* const other = made.find(tensor.name);
  if (other == nullptr || other->shape != tensor.shape) return HUGE_VAL;
  Values from(static_cast<size_t>(tensor.elements())), to(from.size());
  original.read(tensor, from.data());
  made.read(*other, to.data());
  double error = 0, square = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    error += std::pow(double{to[i]} - from[i], 2);
    square += std::pow(double{from[i]}, 2);
  }
  return error / square;
}

struct GgufStacks : testing::TestWithParam<std::string> {
  void SetUp() override { TinyModel(GetParam()).write(folder / "model"); }

  // Rows of down_proj are no whole blocks in most of these models.
  PlanFile plan(const char* schemes, double share) {
    MethodRequest request;
    request.format = "gguf";
    MeasureOptions options;
    options.schemes = parse_schemes(schemes);
    options.matrices = {{"(down_proj|w2|o_proj|out_proj)"}, true};
    options.format = "gguf";
    const ErrorTable table = measure_model(folder / "model", options).table;
    AllocateOptions allocation = request.constraints();
    allocation.objective = Objective::f2;
    const ByteRange range = reachable_bytes(table, allocation);
    const auto bytes = static_cast<int64_t>(share * static_cast<double>(range.largest - range.smallest));
    PlanFile file;
    file.format = "gguf";
    file.plan = allocate(table, range.smallest + bytes, allocation);
    return file;
  }

  // A stack is padded once, where the plan counts a padding for each expert: of 24 rows only, in these models.
  void expect_promised(const WriteReport& report, const PlanFile& file) const {
    EXPECT_LE(report.matrix_bytes, file.plan.bytes);
    if (GetParam() == "mixtral" || GetParam() == "gpt_oss_clamped") {
      EXPECT_EQ(report.matrix_bytes, file.plan.bytes);
    }
    EXPECT_GT(report.matrix_bytes, 0.98 * static_cast<double>(file.plan.bytes));
  }

  const TemporaryFolder folder;
};

TEST_P(GgufStacks, HoldTheExpertsInTheirOrder) {
  const auto original = open_model(folder / "model");
  const PlanFile file = plan("q8_0", 0);
  const WriteReport report = quantize_model(folder / "model", folder / "eight.gguf", file);
  expect_promised(report, file);
  const auto made = open_model(folder / "eight.gguf");
  for (const SourceTensor& tensor : original->tensors()) {
    EXPECT_LT(lost_share(*original, *made, tensor), 1e-4) << tensor.name;
  }
}

TEST_P(GgufStacks, HaveOneTypeEach) {
  const PlanFile file = plan("q4_0,q5_0,q8_0", 0.5);
  std::set<std::string> schemes;
  std::map<std::string, std::set<std::string>> of_stack;
  for (const PlannedMatrix& matrix : file.plan.matrices) {
    schemes.insert(matrix.scheme);
    const size_t at = matrix.name.find(".experts.");
    if (at == std::string::npos) continue;
    of_stack[matrix.name.substr(0, at) + matrix.name.substr(matrix.name.rfind('.'))].insert(matrix.scheme);
  }
  EXPECT_GT(schemes.size(), 1u);
  EXPECT_EQ(of_stack.size() % 2, 0u);  // gate and up, or both as one
  EXPECT_FALSE(of_stack.empty());
  for (const auto& [stack, types] : of_stack) EXPECT_EQ(types.size(), 1u) << stack;
  const WriteReport report = quantize_model(folder / "model", folder / "mixed.gguf", file);
  expect_promised(report, file);
}

TEST_P(GgufStacks, AreRefusedInPartsAndInSeveralTypes) {
  PlanFile file = plan("q4_0,q8_0", 0.5);
  auto& matrices = file.plan.matrices;
  const auto expert = std::find_if(matrices.begin(), matrices.end(),
                                   [](const auto& m) { return m.name.find(".experts.1.") != std::string::npos; });
  ASSERT_NE(expert, matrices.end());
  const PlannedMatrix one = *expert;
  const auto writing = [&] { quantize_model(folder / "model", folder / "no.gguf", file); };
  matrices.erase(expert);
  expect_error(ErrorCode::unsupported, one.name + "', with which it is one tensor", writing);
  PlannedMatrix other = one;
  other.scheme = one.scheme == "q4_0" ? "q8_0" : "q4_0";
  const auto original = open_model(folder / "model");
  const SourceTensor& tensor = *original->find(one.name + ".weight");
  other.bytes = gguf_target().matrix_bytes(parse_scheme(other.scheme), {}, tensor.rows(), tensor.cols());
  matrices.push_back(other);
  expect_error(ErrorCode::unsupported, "one type for all experts of a layer", writing);
  EXPECT_FALSE(std::filesystem::exists(folder / "no.gguf"));
}

INSTANTIATE_TEST_SUITE_P(Mixtures, GgufStacks,
                         testing::Values("mixtral", "qwen2_moe_all", "qwen3_moe_usual", "gpt_oss_clamped",
                                         "qwen3_next_usual", "qwen3_5_moe"),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace mxq
