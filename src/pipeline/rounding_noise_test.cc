#include "pipeline/rounding_noise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mxq {
namespace {

using testing::ElementsAre;

TEST(RoundingNoise, IsMeasuredInSomeLayersAndLinearBetween) {
  EXPECT_THAT(RoundingNoise::layers_to_measure(0), ElementsAre());
  EXPECT_THAT(RoundingNoise::layers_to_measure(1), ElementsAre(0));
  EXPECT_THAT(RoundingNoise::layers_to_measure(2), ElementsAre(0, 1));
  EXPECT_THAT(RoundingNoise::layers_to_measure(5), ElementsAre(0, 4));
  EXPECT_THAT(RoundingNoise::layers_to_measure(10), ElementsAre(0, 4, 8, 9));
  RoundingNoise noise;
  EXPECT_EQ(noise.at(3), 0);
  noise.set(2, 8);
  EXPECT_EQ(noise.at(0), 8);
  EXPECT_EQ(noise.at(7), 8);
  noise.set(6, 4);
  EXPECT_EQ(noise.at(2), 8);
  EXPECT_EQ(noise.at(3), 7);
  EXPECT_EQ(noise.at(6), 4);
  EXPECT_EQ(noise.at(9), 4);
}

}  // namespace
}  // namespace mxq
