// Tests that run once for every instruction set that was compiled in and that this processor has.
#pragma once

#include <gtest/gtest.h>

#include <hwy/highway.h>
#include <string>
#include <vector>

namespace mxq {

class EverySimdTarget : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

inline std::vector<int64_t> simd_targets() {
  hwy::SetSupportedTargetsForTest(0);
  std::vector<int64_t> all;
  const int64_t compiled = hwy::SupportedTargets() & HWY_TARGETS;
  for (int64_t bits = compiled; bits != 0; bits &= bits - 1) all.push_back(bits & -bits);
  return all;
}

}  // namespace mxq

/// For a fixture derived from EverySimdTarget.
#define MXQ_FOR_EVERY_SIMD_TARGET(fixture)                                             \
  INSTANTIATE_TEST_SUITE_P(Targets, fixture, testing::ValuesIn(::mxq::simd_targets()), \
                           [](const auto& param) { return std::string(hwy::TargetName(param.param)); })
