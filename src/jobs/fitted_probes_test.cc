#include "jobs/fitted_probes.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "expect_error.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

FittedProbe random_probe(uint64_t seed, const std::string& scheme, int64_t rows, int64_t cols) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> weights(static_cast<size_t>(rows * cols));
  for (float& w : weights) w = normal(random);
  QuantizeOptions options;
  options.fit = Fit::mse;
  return {quantize_matrix({weights.data(), rows, cols}, parse_scheme(scheme), options), static_cast<double>(seed)};
}

void expect_same_back(FittedProbes probes) {
  const std::vector<std::string> schemes{"b3g64", "b2g32", "gauss3g64"};
  for (size_t i = 0; i < schemes.size(); ++i) probes.add(schemes[i], random_probe(i, schemes[i], 40, 256));
  EXPECT_EQ(probes.size(), 3);
  for (const size_t i : {2, 0, 1}) {
    const FittedProbe expected = random_probe(i, schemes[i], 40, 256);
    const auto found = probes.take(schemes[i]);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->matrix.parts, expected.matrix.parts);
    EXPECT_EQ(found->matrix.layout.scheme.name(), schemes[i]);
    EXPECT_EQ(found->squared_error, expected.squared_error);
    EXPECT_FALSE(probes.take(schemes[i])) << "handed out once";
  }
  EXPECT_FALSE(probes.take("another"));
}

TEST(FittedProbes, ComeBackFromMemory) {
  expect_same_back(FittedProbes());
}

TEST(FittedProbes, ComeBackFromAFileThatNobodySees) {
  const TemporaryFolder folder;
  expect_same_back(FittedProbes(folder.path() / "new"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path() / "new"));
}

TEST(FittedProbes, AFolderThatCannotBeWrittenIsAnError) {
  expect_error(ErrorCode::io, "make a temporary file in /proc/none", [] { FittedProbes probes("/proc/none"); });
}

}  // namespace
}  // namespace mxq
