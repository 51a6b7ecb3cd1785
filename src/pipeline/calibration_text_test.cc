#include "pipeline/calibration_text.h"

#include <gtest/gtest.h>

namespace mxq {
namespace {

TEST(Spread, TakesFromTheWholeText) {
  TokenSequences all;
  for (int i = 0; i < 10; ++i) all.push_back({i, i, i});
  EXPECT_EQ(spread(all, 15), (TokenSequences{all[0], all[2], all[4], all[6], all[8]}));
  EXPECT_EQ(spread(all, 7), (TokenSequences{all[0], all[3], all[6]}));
  EXPECT_EQ(spread(all, 1), (TokenSequences{all[0]}));
  EXPECT_EQ(spread(all, 30), all);
  EXPECT_EQ(spread(all, 1000), all);
  EXPECT_EQ(spread({}, 5), TokenSequences());
}

}  // namespace
}  // namespace mxq
