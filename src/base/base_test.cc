#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <filesystem>
#include <limits>

#include "base/atomic_file.h"
#include "base/content_hash.h"
#include "base/half.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "base/saturate.h"
#include "expect_error.h"
#include "mxq/error.h"
#include "mxq/tensor.h"
#include "mxq/text.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

namespace fs = std::filesystem;

// Independent reference: the value of an fp16 by its definition.
double f16_value(uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const double mantissa = h & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return h & 0x8000 ? -magnitude : magnitude;
}

TEST(Half, EveryFiniteF16ReadsAsItsDefinitionAndWritesBack) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    if (((h >> 10) & 31) == 31) continue;
    const float value = f32_from_f16(static_cast<uint16_t>(h));
    ASSERT_EQ(value, f16_value(static_cast<uint16_t>(h)));
    ASSERT_EQ(f16_from_f32(value), h);
  }
}

TEST(Half, RoundsToNearestEvenBetweenNeighbours) {
  for (uint16_t h = 0; h < 0x7bff; ++h) {
    const double low = f16_value(h), high = f16_value(h + 1), middle = (low + high) / 2;
    const auto above = static_cast<float>(std::nextafter(static_cast<float>(middle), 1e9f));
    const auto below = static_cast<float>(std::nextafter(static_cast<float>(middle), 0.f));
    ASSERT_EQ(f16_from_f32(static_cast<float>(middle)), h % 2 == 0 ? h : h + 1);
    ASSERT_EQ(f16_from_f32(above), h + 1);
    ASSERT_EQ(f16_from_f32(below), h);
  }
}

TEST(Half, InfinityNanAndOverflow) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(f32_from_f16(0x7c00), inf);
  EXPECT_EQ(f32_from_f16(0xfc00), -inf);
  EXPECT_TRUE(std::isnan(f32_from_f16(0x7e01)));
  EXPECT_EQ(f16_from_f32(65520.f), 0x7c00);
  EXPECT_EQ(f16_from_f32(65519.f), 0x7bff);
  EXPECT_EQ(f16_from_f32(-inf), 0xfc00);
  EXPECT_TRUE(std::isnan(f32_from_f16(f16_from_f32(std::nanf("")))));
  EXPECT_TRUE(std::isnan(f32_from_bf16(bf16_from_f32(std::bit_cast<float>(0x7f800001u)))));
}

TEST(Half, Bf16RoundsToNearestEven) {
  EXPECT_EQ(bf16_from_f32(1.f), 0x3f80);
  EXPECT_EQ(bf16_from_f32(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // tie to even
  EXPECT_EQ(bf16_from_f32(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_EQ(bf16_from_f32(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(f32_from_bf16(0xc0a0), -5.f);
}

TEST(Text, Sizes) {
  EXPECT_EQ(parse_size("4GiB"), int64_t{4} << 30);
  EXPECT_EQ(parse_size("1.5 GB"), 1'500'000'000);
  EXPECT_EQ(parse_size("512mib"), int64_t{512} << 20);
  EXPECT_EQ(parse_size("1000"), 1000);
  EXPECT_EQ(parse_size("4G"), int64_t{4} << 30);
  EXPECT_EQ(parse_size("200k"), 200 * 1024);
  EXPECT_EQ(parse_size("4e9"), 4'000'000'000);
  EXPECT_EQ(parse_size("1.5e3KB"), 1'500'000);
  EXPECT_EQ(parse_size("0B"), 0);
  for (const char* bad :
       {"", "GiB", "-1GiB", "4 parsecs", "4GiBx", "nan", "inf", "1e400", "9000000TiB", "4  GiB", "4e", "e9", "4e9e9"}) {
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
  }
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(int64_t{3} << 29), "1.5 GiB");
}

TEST(Text, NumbersTakeTheWholeText) {
  EXPECT_EQ(parse_double("3.25"), 3.25);
  EXPECT_EQ(parse_int("-7"), -7);
  for (const char* bad : {"", "3.25x", " 3", "nan", "inf", "1e999", "0x10"}) EXPECT_FALSE(parse_double(bad)) << bad;
  EXPECT_FALSE(parse_int("9223372036854775808"));
}

TEST(Text, PrintableTextHasNoControls) {
  EXPECT_EQ(printable("caf\u00e9 \u6e2f 'x' \\d"), "caf\u00e9 \u6e2f 'x' \\d");
  EXPECT_EQ(printable("a\x1b[31m\x07\x7f\n\t\r"), R"(a\x1b[31m\x07\u007f\n\t\r)");
  EXPECT_EQ(printable(std::string_view("\0z", 2)), R"(\x00z)");
  EXPECT_EQ(printable("\u0085\u009b1m"), R"(\u0085\u009b1m)");  // C1: a line break, and what begins an escape
  EXPECT_EQ(printable("\u202ex\u2066\u200f\u2028"), R"(\u202ex\u2066\u200f\u2028)");
  EXPECT_EQ(printable("\xff\xc3(\xed\xa0\x80"),
            R"(\xff\xc3(\xed\xa0\x80)");  // no UTF-8: a byte, half a character, a surrogate
  EXPECT_EQ(printable(printable("\x1b\n")), printable("\x1b\n"));
  EXPECT_EQ(printable_lines("a\n\tb\r\x1b"), "a\n\tb\\r\\x1b");
  EXPECT_EQ(printable("\u00e9\u00e9", 3), "\u00e9...");
  EXPECT_EQ(in_quotes(std::string(300, 'a')), "'" + std::string(200, 'a') + "...'");
}

TEST(Text, NearestNames) {
  const std::vector<std::string> names{"bits", "size", "metadata"};
  EXPECT_EQ(nearest_name("metdata", names), "metadata");
  EXPECT_EQ(nearest_name("bist", names, 2), "bits");
  EXPECT_EQ(nearest_name("bist", names, 1), std::nullopt);
  EXPECT_EQ(nearest_name("size", names, 0), "size");
  EXPECT_EQ(nearest_name("x", {}), std::nullopt);
}

TEST(Saturate, WhateverTheNumberIs) {
  EXPECT_EQ(saturate<int>(-2.9), -2);
  EXPECT_EQ(saturate<int>(2147483647.0), 2147483647);
  EXPECT_EQ(saturate<int>(2147483648.0), 2147483647);
  EXPECT_EQ(saturate<int>(-1e300), std::numeric_limits<int>::min());
  EXPECT_EQ(saturate<int64_t>(9223372036854774784.0), 9223372036854774784);  // the last double below 2^63
  EXPECT_EQ(saturate<int64_t>(0x1p63), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(saturate<int64_t>(-0x1p63), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(saturate<int64_t>(std::numeric_limits<double>::infinity()), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(saturate<int64_t>(std::numeric_limits<double>::quiet_NaN()), 0);
}

TEST(Parallel, RunsEveryIndexOnceAndRethrows) {
  std::vector<std::atomic<int>> seen(1000);
  parallel_for(1000, [&](int64_t i) { ++seen[static_cast<size_t>(i)]; });
  for (auto& count : seen) EXPECT_EQ(count, 1);
  parallel_for(0, [](int64_t) { FAIL(); });
  EXPECT_THROW(parallel_for(100,
                            [](int64_t i) {
                              if (i == 57) throw Error(ErrorCode::io, "a", "b");
                            }),
               Error);
}

class Files : public testing::Test {
 protected:
  const TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST_F(Files, AtomicFileAppearsOnCommitOnly) {
  {
    AtomicFile file(folder_ / "a");
    file.write("abandoned");
    EXPECT_FALSE(fs::exists(folder_ / "a"));
  }
  EXPECT_TRUE(fs::is_empty(folder_));
  AtomicFile file(folder_ / "a");
  file.write("kept");
  file.commit();
  EXPECT_EQ(read_file(folder_ / "a"), "kept");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(Files, ErrorsNameTheFile) {
  try {
    MappedFile missing(folder_ / "none");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_found);
    EXPECT_THAT(e.what(), testing::HasSubstr("none"));
  }
  fs::create_symlink("../blobs/abc", folder_ / "link");
  expect_error(ErrorCode::not_found, "link: a link to '../blobs/abc', which is not there; expected ",
               [&] { MappedFile missing(folder_ / "link"); });
  EXPECT_THROW(MappedFile{folder_}, Error);
  EXPECT_THROW(AtomicFile(folder_ / "no" / "such"), Error);
}

TEST_F(Files, AtomicFileOverwritesInPlace) {
  AtomicFile file(folder_ / "a");
  file.write("head....tail");
  file.overwrite(4, std::as_bytes(std::span("1234", 4)));
  file.write("!");
  EXPECT_EQ(file.size(), 13u);
  file.commit();
  EXPECT_EQ(read_file(folder_ / "a"), "head1234tail!");
}

TEST_F(Files, EmptyFileMapsToNothing) {
  write_file(folder_ / "empty", "");
  EXPECT_TRUE(MappedFile(folder_ / "empty").bytes().empty());
}

TEST(ContentHash, KnownValues) {
  // XXH3 128 of the empty input with seed 0, from the xxHash specification's test vectors.
  EXPECT_EQ(ContentHash().hex(), "99aa06d3014798d86001c324468d497f");
  ContentHash one, two;
  one.add("abc");
  two.add("ab");
  two.add("c");
  EXPECT_EQ(one.hex(), two.hex());
}

TEST(Error, IsOneLine) {
  const Error error(ErrorCode::io, "read x\ny", "z", "w");
  EXPECT_STREQ(error.what(), "read x\\ny: z; expected w");
}

TEST(DType, Bytes) {
  EXPECT_EQ(dtype_bytes(DType::q4_1, 64), 40);
  EXPECT_EQ(dtype_bytes(DType::bf16, 3), 6);
  EXPECT_THROW(dtype_bytes(DType::q8_0, 33), Error);
  EXPECT_THROW(dtype_bytes(DType::f32, int64_t{1} << 62), Error);
}

}  // namespace
}  // namespace mxq
