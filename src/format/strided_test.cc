#include "format/strided.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace mxq {
namespace {

using testing::ElementsAre;

TEST(Strided, KnowsWhatIsRowMajor) {
  EXPECT_TRUE(is_row_major({}, {}));
  EXPECT_TRUE(is_row_major({3}, {1}));
  EXPECT_FALSE(is_row_major({3}, {2}));
  EXPECT_TRUE(is_row_major({2, 3}, {3, 1}));
  EXPECT_TRUE(is_row_major({1, 3}, {99, 1})) << "a stride of an extent of 1 says nothing";
  EXPECT_TRUE(is_row_major({1}, {7}));
  EXPECT_TRUE(is_row_major({0, 5}, {1, 9})) << "nor does one of nothing";
  EXPECT_FALSE(is_row_major({2, 3}, {1, 2}));
  EXPECT_FALSE(is_row_major({2, 3}, {0, 1}));
  EXPECT_FALSE(is_row_major({2, 3}, {4, 1}));
}

template <typename T>
std::vector<T> gather(const StridedRows& rows, int64_t first, int64_t count, int64_t width) {
  std::vector<T> out(static_cast<size_t>(count * width));
  rows.gather(first, count, reinterpret_cast<std::byte*>(out.data()));
  return out;
}

TEST(Strided, TransposesSlicesAndReorders) {
  const std::vector<uint16_t> values{0, 1, 2, 3, 4, 5};
  StridedRows rows{.shape = {3, 2}, .strides = {1, 3}, .bytes = std::as_bytes(std::span(values)), .unit = 2};
  EXPECT_THAT(gather<uint16_t>(rows, 0, 3, 2), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(gather<uint16_t>(rows, 1, 1, 2), ElementsAre(1, 4));
  rows.order = {2, 0, 1};
  EXPECT_THAT(gather<uint16_t>(rows, 0, 2, 2), ElementsAre(2, 5, 0, 3));
  const StridedRows every_other{.shape = {3}, .strides = {2}, .bytes = std::as_bytes(std::span(values)), .unit = 2};
  EXPECT_THAT(gather<uint16_t>(every_other, 0, 3, 1), ElementsAre(0, 2, 4));
  const StridedRows repeated{.shape = {2, 2}, .strides = {0, 1}, .bytes = std::as_bytes(std::span(values)), .unit = 2};
  EXPECT_THAT(gather<uint16_t>(repeated, 0, 2, 2), ElementsAre(0, 1, 0, 1));
}

template <typename T>
void check_permuted(std::vector<int64_t> shape, const std::vector<size_t>& order) {
  // Strides of a tensor whose dimensions lie in memory in `order`, the last one innermost.
  std::vector<int64_t> strides(shape.size());
  int64_t all = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = all;
    all *= shape[order[i]];
  }
  std::mt19937_64 random(7);
  std::vector<T> values(static_cast<size_t>(all));
  for (T& value : values) value = static_cast<T>(random());
  const StridedRows rows{
      .shape = shape, .strides = strides, .bytes = std::as_bytes(std::span(values)), .unit = sizeof(T)};
  const int64_t width = all / shape[0];
  std::vector<T> expected;
  std::vector<int64_t> at(shape.size());
  for (int64_t i = 0; i < all; ++i) {
    int64_t offset = 0;
    for (size_t d = 0; d < shape.size(); ++d) offset += at[d] * strides[d];
    expected.push_back(values[static_cast<size_t>(offset)]);
    for (size_t d = shape.size(); d-- > 0 && ++at[d] == shape[d];) at[d] = 0;
  }
  EXPECT_EQ(gather<T>(rows, 0, shape[0], width), expected);
  const std::vector<T> some(expected.begin() + width, expected.end() - width);
  EXPECT_EQ(gather<T>(rows, 1, shape[0] - 2, width), some);
}

TEST(Strided, GathersEveryOrderOfDimensions) {
  check_permuted<uint8_t>({67, 1031}, {1, 0});
  check_permuted<uint32_t>({67, 1031}, {1, 0});
  check_permuted<uint16_t>({5, 7, 9}, {2, 0, 1});
  check_permuted<uint64_t>({5, 7, 9}, {1, 2, 0});
  check_permuted<uint64_t>({33, 4, 3, 5}, {3, 0, 2, 1});
}

}  // namespace
}  // namespace mxq
