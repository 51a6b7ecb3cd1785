#include "mxq/scheme.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mxq/error.h"
#include "mxq/quantized_matrix.h"

namespace mxq {
namespace {

using testing::HasSubstr;

TEST(Scheme, NamesAndParsing) {
  ASSERT_EQ(paper_schemes().size(), 12u);
  EXPECT_EQ(paper_schemes().front().name(), "b2g32");
  EXPECT_EQ(paper_schemes().back().name(), "b8g128");
  EXPECT_EQ(wide_schemes().size(), 18u);
  EXPECT_EQ(all_schemes().size(), 30u);
  for (const Scheme& scheme : wide_schemes()) EXPECT_THAT(all_schemes(), testing::Contains(scheme));
  for (const Scheme& scheme : paper_schemes()) EXPECT_THAT(wide_schemes(), testing::Contains(scheme));
  for (const Scheme& scheme : all_schemes()) EXPECT_EQ(parse_scheme(scheme.name()), scheme);
  for (const char* wrong : {"", "b4", "b7g64", "b4g65", "b4g64 ", "B4G64", "b04g64", "b4g640"}) {
    try {
      parse_scheme(wrong);
      FAIL() << wrong;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::usage);
      EXPECT_THAT(error.what(), HasSubstr(std::string("'") + wrong + "'"));
      EXPECT_THAT(error.what(), HasSubstr("b2g32, b2g64, b2g128"));
      EXPECT_THAT(error.what(), HasSubstr("b8g256"));
    }
  }
}

TEST(Scheme, FitsAndMetadataAreNamed) {
  for (const Fit fit : {Fit::rtn, Fit::hqq, Fit::mse, Fit::gptq}) EXPECT_EQ(parse_fit(fit_name(fit)), fit);
  for (const Metadata m : {Metadata::q8, Metadata::f16, Metadata::f32, Metadata::f16_bias, Metadata::bf16_bias}) {
    EXPECT_EQ(parse_metadata(metadata_name(m)), m);
  }
  EXPECT_EQ(fit_name(Fit::mse), "mse");
  EXPECT_EQ(metadata_name(Metadata::q8), "q8");
  try {
    parse_fit("best");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    EXPECT_THAT(error.what(), HasSubstr("rtn, hqq, mse"));
  }
  try {
    parse_metadata("q4");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    EXPECT_THAT(error.what(), HasSubstr("q8, f16, f32"));
  }
}

TEST(Scheme, NominalBitsAreEquationTwo) {
  // Values of the paper's Table 1, four decimals.
  const std::vector<double> table = {2.5078, 2.2539, 2.1270, 3.5078, 3.2539, 3.1270,
                                     4.5078, 4.2539, 4.1270, 8.5078, 8.2539, 8.1270};
  for (size_t i = 0; i < table.size(); ++i) EXPECT_NEAR(nominal_bits(paper_schemes()[i]), table[i], 5e-5);
}

TEST(Scheme, StorageIsEquationTwoWhereNothingIsPadded) {
  for (const Scheme& scheme : paper_schemes()) {
    for (const int axis : {0, 1}) {
      // 512 x 4096 is a whole number of blocks of 128 groups for all sizes.
      const double bits = 8.0 * static_cast<double>(storage_bytes(scheme, {Fit::mse, axis, Metadata::q8}, 512, 4096));
      EXPECT_DOUBLE_EQ(bits / (512 * 4096), nominal_bits(scheme)) << scheme.name();
    }
  }
  EXPECT_EQ(storage_bytes({4, 64}, {Fit::mse, 1, Metadata::f16}, 2, 128), 128 + 4 * 4);
  EXPECT_EQ(storage_bytes({4, 64}, {Fit::mse, 1, Metadata::f32}, 2, 128), 128 + 4 * 8);
}

TEST(Scheme, GroupsAndPadding) {
  EXPECT_EQ(group_count({4, 64}, 1, 3, 65), 6);
  EXPECT_EQ(group_count({4, 64}, 0, 3, 65), 4);
  EXPECT_EQ(group_count({4, 64}, 1, 0, 65), 0);
  EXPECT_EQ(group_count({4, 64}, 0, 5, 0), 0);
  // 3 rows of 65 codes of 3 bits: 25 bytes each, 75 padded to 76; 6 groups: 6 + 6 bytes and one pair of steps.
  EXPECT_EQ(storage_bytes({3, 64}, {Fit::mse, 1, Metadata::q8}, 3, 65), 76 + 12 + 4);
  // Axis 0: one stream of 195 codes: 74 bytes padded to 76; 4 groups.
  EXPECT_EQ(storage_bytes({3, 64}, {Fit::mse, 0, Metadata::q8}, 3, 65), 76 + 8 + 4);
  EXPECT_EQ(storage_bytes({3, 64}, {}, 0, 65), 0);
  // Column scales are fp16.
  EXPECT_EQ(storage_bytes({3, 64}, {Fit::mse, 1, Metadata::q8, Normalize::columns}, 3, 65), 76 + 12 + 4 + 2 * 65);
}

}  // namespace
}  // namespace mxq
