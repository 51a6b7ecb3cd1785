#include "model/gguf_groups.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "format/ggml_blocks.h"
#include "format/weights.h"

namespace mxq {
namespace {

bool same(float a, float b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0 || (std::isnan(a) && std::isnan(b));
}

TEST(GgufGroups, HoldTheVeryValues) {
  const unsigned seed = 5;
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937 random(seed);
  constexpr int64_t rows = 5, cols = 1024;
  for (int type = static_cast<int>(DType::q4_0); type <= static_cast<int>(DType::mxfp4); ++type) {
    const auto dtype = static_cast<DType>(type);
    SCOPED_TRACE(testing::Message() << dtype_name(dtype) << ", seed " << seed);
    const auto layout = exact_ggml_layout(dtype, rows, cols);
    ASSERT_EQ(layout.has_value(), !ggml_codes(dtype).has_offsets);
    if (!layout) continue;
    EXPECT_LT(layout->total_bytes(), rows * cols * 2);
    std::vector<std::byte> blocks(static_cast<size_t>(dtype_bytes(dtype, rows * cols)));
    for (auto& byte : blocks) byte = static_cast<std::byte>(random());
    std::vector<float> expected(rows * cols), found(rows * cols);
    read_f32({"w", dtype, {rows, cols}, blocks}, 0, rows * cols, expected.data());
    dequantize_matrix(exact_ggml_groups(dtype, *layout, blocks).view(), found.data());
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_TRUE(same(found[i], expected[i])) << found[i] << ", not " << expected[i] << ", at " << i;
    }
  }
}

TEST(GgufGroups, AreTheSchemesThatTheReferenceLists) {
  // docs/reference/checkpoint.md
  const std::map<DType, std::pair<std::string, Metadata>> listed{
      {DType::q4_0, {"b4g32", Metadata::f16}},    {DType::q5_0, {"b5g32", Metadata::f16}},
      {DType::q8_0, {"b8g32", Metadata::f16}},    {DType::q3_k, {"b3g16", Metadata::f32}},
      {DType::q6_k, {"b6g16", Metadata::f32}},    {DType::iq1_s, {"b5g32", Metadata::f32}},
      {DType::iq1_m, {"b5g16", Metadata::f32}},   {DType::iq2_xxs, {"b8g32", Metadata::f32}},
      {DType::iq2_xs, {"b8g16", Metadata::f32}},  {DType::iq2_s, {"b8g16", Metadata::f32}},
      {DType::iq3_xxs, {"b8g32", Metadata::f32}}, {DType::iq3_s, {"b5g32", Metadata::f32}},
      {DType::iq4_nl, {"b8g32", Metadata::f16}},  {DType::iq4_xs, {"b8g32", Metadata::f32}},
      {DType::tq1_0, {"b2g256", Metadata::f16}},  {DType::tq2_0, {"b2g256", Metadata::f16}},
      {DType::mxfp4, {"b5g32", Metadata::f32}}};
  for (const auto& [dtype, scheme] : listed) {
    const auto layout = exact_ggml_layout(dtype, 1, 256);
    ASSERT_TRUE(layout) << dtype_name(dtype);
    EXPECT_EQ(layout->scheme.name(), scheme.first) << dtype_name(dtype);
    EXPECT_EQ(layout->metadata, scheme.second) << dtype_name(dtype);
  }
  for (const DType dtype : {DType::q4_1, DType::q5_1, DType::q2_k, DType::q4_k, DType::q5_k, DType::f16, DType::i8}) {
    EXPECT_FALSE(exact_ggml_layout(dtype, 1, 256)) << dtype_name(dtype);
  }
}

}  // namespace
}  // namespace mxq
