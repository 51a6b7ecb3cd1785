#include "cli/report_coverage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/captured_log.h"

namespace mxq::cli {
namespace {

using testing::HasSubstr;

Coverage with(LeftReason reason, int64_t weights) {
  return {1000, 1000 - weights, {{reason, 1, weights, "a.weight", "BF16"}}};
}

std::string warned(const Coverage& coverage, bool bits = false) {
  const CapturedLog log;
  warn_of_coverage(coverage, bits);
  return log.text();
}

TEST(SaidCoverage, WarnsOfMoreThanAHundredth) {
  EXPECT_EQ(warned(with(LeftReason::stack, 10)), "");
  EXPECT_THAT(warned(with(LeftReason::stack, 11)), HasSubstr("warning: "));
  EXPECT_EQ(warned(with(LeftReason::skipped, 900)), "") << "asked for";
  EXPECT_EQ(warned(with(LeftReason::embeddings, 900)), "") << "as by default";
}

TEST(SaidCoverage, BitsCountWhatIsPlanned) {
  EXPECT_THAT(warned(with(LeftReason::tower, 500), true), HasSubstr("; --bits counts the planned matrices alone"));
  EXPECT_THAT(warned(with(LeftReason::tower, 500)), testing::Not(HasSubstr("--bits")));
}

TEST(SaidCoverage, Json) {
  const auto json = coverage_json(with(LeftReason::router, 100));
  EXPECT_EQ(json.dump(),
            R"({"weights":1000,"planned":900,"left_weights":100,"left":[{"reason":"router","tensors":1,"weights":100,)"
            R"("example":"a.weight","dtype":"BF16"}]})");
}

}  // namespace
}  // namespace mxq::cli
