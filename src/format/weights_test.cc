#include "format/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/parallel.h"
#include "mxq/error.h"

namespace mxq {
namespace {

using testing::HasSubstr;

template <typename T>
TensorView view_of(const std::vector<T>& items, DType dtype, std::vector<int64_t> shape) {
  return {"w", dtype, std::move(shape), std::as_bytes(std::span(items))};
}

std::vector<uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::memcpy(bits.data(), values.data(), values.size() * 4);
  return bits;
}

TEST(FirstNotFinite, IsFoundWhereverItIs) {
  for (const DType dtype : {DType::f64, DType::f32, DType::f16, DType::bf16}) {
    const int64_t n = (int64_t{1} << 16) + 77;  // more than a task takes
    std::vector<float> values(static_cast<size_t>(n), -65504.0f);
    std::vector<std::byte> bytes(static_cast<size_t>(dtype_bytes(dtype, n)));
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      for (const int64_t at : {int64_t{0}, int64_t{31}, int64_t{32}, int64_t{65535}, int64_t{65536}, n - 1}) {
        auto some = values;
        some[static_cast<size_t>(at)] = some.back() = bad;
        write_dtype(some.data(), n, dtype, bytes.data());
        EXPECT_EQ(first_not_finite(bytes.data(), n, dtype), at) << dtype_name(dtype);
        EXPECT_EQ(first_not_finite(bytes.data(), at, dtype), -1) << dtype_name(dtype);
      }
    }
  }
  const std::vector<std::byte> ones(64, std::byte{0xff});
  EXPECT_EQ(first_not_finite(ones.data(), 8, DType::i64), -1);
  EXPECT_EQ(first_not_finite(ones.data(), 0, DType::f32), -1);
}

TEST(ReadF32, EveryF16AndBf16IsItsValue) {
  std::vector<uint16_t> all(0x10000);
  for (uint32_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  std::vector<float> values(all.size());
  read_f32(view_of(all, DType::f16, {256, 256}), 0, 0x10000, values.data());
  for (uint16_t h : all) ASSERT_EQ(std::bit_cast<uint32_t>(values[h]), std::bit_cast<uint32_t>(f32_from_f16(h))) << h;
  read_f32(view_of(all, DType::bf16, {0x10000}), 0, 0x10000, values.data());
  for (uint16_t h : all) ASSERT_EQ(std::bit_cast<uint32_t>(values[h]), static_cast<uint32_t>(h) << 16) << h;
}

TEST(ReadF32, AnyRangeAtAnyAlignmentOverManyChunks) {
  const int64_t count = 200'003;
  std::vector<std::byte> bytes(static_cast<size_t>(2 * count + 1));
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t bits = bf16_from_f32(static_cast<float>(i % 251));
    std::memcpy(bytes.data() + 1 + 2 * i, &bits, 2);
  }
  const TensorView tensor{"w", DType::bf16, {count}, std::span(bytes).subspan(1)};
  const int before = threads();
  for (int n : {1, 3}) {
    set_threads(n);
    for (int64_t first : {int64_t{0}, int64_t{1}, int64_t{65535}, count - 1, count}) {
      std::vector<float> values(static_cast<size_t>(count - first));
      read_f32(tensor, first, count - first, values.data());
      for (int64_t i = first; i < count; ++i) ASSERT_EQ(values[static_cast<size_t>(i - first)], i % 251);
    }
  }
  set_threads(before);
}

TEST(ReadF32, F32IsCopiedAndEmptyTensorsAreEmpty) {
  const std::vector<float> items{1.5f, -0.f, 3e38f};
  std::vector<float> values(2);
  read_f32(view_of(items, DType::f32, {3}), 1, 2, values.data());
  EXPECT_EQ(bits_of(values), (std::vector<uint32_t>{0x80000000u, std::bit_cast<uint32_t>(3e38f)}));
  read_f32({"e", DType::f16, {0, 7}, {}}, 0, 0, nullptr);
  read_f32({"e", DType::q4_1, {0, 32}, {}}, 0, 0, nullptr);
}

TEST(ReadF32, Errors) {
  const std::vector<uint8_t> bytes(40);
  float out[64];
  const auto expect = [&](DType dtype, int64_t elements, int64_t first, int64_t count, ErrorCode code,
                          const char* what) {
    try {
      read_f32(view_of(bytes, dtype, {elements}), first, count, out);
      ADD_FAILURE() << "accepted; expected: " << what;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code);
      EXPECT_THAT(e.what(), HasSubstr(what));
    }
  };
  expect(DType::i32, 10, 0, 1, ErrorCode::unsupported, "tensor 'w' has dtype I32; expected F64, F32, F16");
  expect(DType::f32, 10, -1, 1, ErrorCode::usage, "1 elements from -1 on of tensor 'w'");
  expect(DType::f32, 10, 0, -1, ErrorCode::usage, "-1 elements from 0 on");
  expect(DType::f32, 10, 11, 0, ErrorCode::usage, "0 elements from 11 on");
  expect(DType::f32, 10, 5, 6, ErrorCode::usage, "among its 10 elements");
  expect(DType::f32, 10, INT64_MAX, INT64_MAX, ErrorCode::usage, "among its 10 elements");
  expect(DType::q4_1, 64, 16, 32, ErrorCode::usage, "whole blocks of 32");
  expect(DType::q4_1, 64, 0, 33, ErrorCode::usage, "whole blocks of 32");
}

TEST(WriteDType, RoundsAsHalfDoes) {
  // Every fp32 exponent and sign, mantissas at and beside each place where a rounding may turn, and random bits.
  const unsigned seed = 11;
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937 random(seed);
  std::vector<float> values;
  for (uint32_t top = 0; top < 0x200; ++top) {
    for (int shift = 0; shift < 23; ++shift) {
      for (uint32_t delta : {0u, 1u, 0x7fffffu}) {
        values.push_back(std::bit_cast<float>(top << 23 | (((1u << shift) + delta) & 0x7fffffu)));
      }
      values.push_back(std::bit_cast<float>(top << 23 | (static_cast<uint32_t>(random()) & 0x7fffffu)));
    }
  }
  for (int i = 0; i < 300'000; ++i) values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
  const auto count = static_cast<int64_t>(values.size());
  std::vector<uint16_t> out(values.size());
  write_dtype(values.data(), count, DType::f16, std::as_writable_bytes(std::span(out)).data());
  for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], f16_from_f32(values[i])) << std::hexfloat << values[i];
  write_dtype(values.data(), count, DType::bf16, std::as_writable_bytes(std::span(out)).data());
  for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], bf16_from_f32(values[i])) << std::hexfloat << values[i];
  std::vector<float> copy(values.size());
  write_dtype(values.data(), count, DType::f32, std::as_writable_bytes(std::span(copy)).data());
  EXPECT_EQ(bits_of(copy), bits_of(values));
}

TEST(WriteDType, KnownRoundings) {
  // IEEE 754: ties to even, the smallest subnormal's half, overflow at 65520.
  const std::vector<float> values{1.f, 1.f + 0x1p-11f, 1.f + 0x3p-11f, 0x1p-25f, 0x1.8p-25f, 65519.f, 65520.f, -2.5f};
  std::vector<uint16_t> out(values.size());
  write_dtype(values.data(), 8, DType::f16, std::as_writable_bytes(std::span(out)).data());
  EXPECT_EQ(out, (std::vector<uint16_t>{0x3c00, 0x3c00, 0x3c02, 0, 1, 0x7bff, 0x7c00, 0xc100}));
}

TEST(WriteDType, WhatDoesNotFitIsFound) {
  // 65520 is the first that fp16 rounds to infinity; half of the least subnormal, 2^-25, becomes 0. A NaN stays one.
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> values{1, 65519, inf, -inf, std::nanf(""), 0, -0.0f, 0x1p-25f, -0x1p-30f, 0x1p-24f};
  int64_t zeros = 0;
  EXPECT_EQ(first_overflow(values.data(), 10, DType::f16, zeros), -1);
  EXPECT_EQ(zeros, 2);
  EXPECT_EQ(first_overflow(values.data(), 10, DType::f32, zeros), -1);
  EXPECT_EQ(zeros, 2);
  EXPECT_EQ(first_overflow(values.data(), 10, DType::bf16, zeros), -1);
  EXPECT_EQ(zeros, 2);
  std::vector<float> large(200'000, 1.f);
  large[150'000] = -65520;
  large[190'000] = 3.4e38f;
  EXPECT_EQ(first_overflow(large.data(), 200'000, DType::f16, zeros), 150'000);
  EXPECT_EQ(first_overflow(large.data(), 200'000, DType::bf16, zeros), 190'000);
}

TEST(ReadF32, RoundsF64AndRefusesWhatIsBeyond) {
  const std::vector<double> values{0.1, -2.5, 1e-320, std::numeric_limits<double>::infinity()};
  const auto bytes = std::as_bytes(std::span(values));
  std::vector<float> out(4);
  read_f32({"w", DType::f64, {4}, bytes}, 0, 4, out.data());
  EXPECT_EQ(out, (std::vector<float>{0.1f, -2.5f, 0.f, std::numeric_limits<float>::infinity()}));
  const double large = 1e39;
  EXPECT_THROW(read_f32({"w", DType::f64, {1}, std::as_bytes(std::span(&large, 1))}, 0, 1, out.data()), Error);
  double back = 0;
  const float half = 0.5f;
  write_dtype(&half, 1, DType::f64, std::as_writable_bytes(std::span(&back, 1)).data());
  EXPECT_EQ(back, 0.5);
}

TEST(WriteDType, RejectsOtherTypes) {
  const float value = 1;
  std::byte out[8];
  for (DType dtype : {DType::i32, DType::u8, DType::q8_0}) {
    EXPECT_THROW(write_dtype(&value, 1, dtype, out), Error) << dtype_name(dtype);
  }
}

}  // namespace
}  // namespace mxq
