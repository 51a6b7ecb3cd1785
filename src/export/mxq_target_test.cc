// What a target promises before it writes is what its files hold, to the byte; and what it writes comes back.
#include <gtest/gtest.h>

#include <filesystem>

#include "expect_error.h"
#include "export/target_fixture.h"
#include "mxq/error.h"

namespace mxq {
namespace {

struct MxqTargets : TargetFixture {
  MxqTargets() : TargetFixture(mxq_target(), {Fit::rtn, 1, Metadata::q8, Normalize::columns}, {}) {}
  void SetUp() override { open("llama2"); }
};

TEST_F(MxqTargets, BytesAreWhatWasPromised) {
  expect_promised_bytes(20'000);
}

TEST_F(MxqTargets, ComesBackBitForBit) {
  write();
  const auto again = open_model(out);
  for (const auto* tensor : matrices) {
    const SourceTensor* const stored = again->find(tensor->name);
    ASSERT_NE(stored, nullptr) << tensor->name;
    std::vector<float> expected(static_cast<size_t>(tensor->elements()));
    dequantize_matrix(quantized(*tensor).view(), expected.data());
    EXPECT_EQ(weights_of(*again, *stored), expected) << tensor->name;
  }
  for (const auto& tensor : model->tensors()) {
    if (std::find(matrices.begin(), matrices.end(), &tensor) != matrices.end()) continue;
    EXPECT_EQ(weights_of(*again, *again->find(tensor.name)), weights_of(*model, tensor)) << tensor.name;
  }
}

TEST_F(MxqTargets, NothingIsLeftOfWhatFails) {
  Export what = all_in_one_scheme();
  what.matrices.back().make = []() -> QuantizedMatrix { throw Error(ErrorCode::io, "test", "stopped"); };
  EXPECT_THROW(mxq_target().write(what, {out, false, {}}, {}, nullptr), Error);
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Targets, AreFoundByName) {
  EXPECT_EQ(&find_target("mxq"), &mxq_target());
  for (const Target* target : targets()) EXPECT_EQ(&find_target(target->name()), target);
  expect_error(ErrorCode::usage, "'gguf5'; expected mxq", [] { find_target("gguf5"); });
}

}  // namespace
}  // namespace mxq
