// GGUF's types: what is coded, what it loses, and what feedback gains.
#include "schemes/ggml/ggml.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/half.h"
#include "expect_error.h"
#include "format/ggml_pack.h"
#include "schemes/feedback/gptq.h"
#include "schemes/feedback/test_matrices.h"
#include "schemes/ggml/ggml_type.h"

namespace mxq {
namespace {

const QuantizeOptions kPlain{Fit::mse, 1, Metadata::q8, Normalize::none};

Scheme scheme_of(const ggml::Type& type) {
  return parse_scheme(type.name);
}

double squares(const std::vector<float>& x) {
  double sum = 0;
  for (const float w : x) sum += double{w} * w;
  return sum;
}

double loss(const Matrix& m, const QuantizedMatrix& q) {
  std::vector<float> back(m.data.size());
  dequantize_matrix(q.view(), back.data());
  double sum = 0;
  for (size_t i = 0; i < back.size(); ++i) sum += std::pow(double{m.data[i]} - back[i], 2);
  return sum;
}

/// What codes of so many bits lose of normal weights at least, as a share of their squares: the best levels there are
/// for each weight alone (Max 1960), and 8 bits on a grid that ends at four times the root mean square.
double least_loss(int bits) {
  switch (bits) {
    case 2:
      return 0.1175;
    case 3:
      return 0.03454;
    case 4:
      return 0.009497;
    case 5:
      return 0.002499;
    case 6:
      return 0.000642;
    default:
      return 0.00002;
  }
}

TEST(GgmlTypes, TakeTheBytesOfTheFormatAndLoseLittle) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(37, 512, random);
  for (const ggml::Type& type : ggml::types()) {
    SCOPED_TRACE(type.name);
    const Scheme scheme = scheme_of(type);
    EXPECT_EQ(ggml_dtype(scheme), type.dtype);
    EXPECT_EQ(storage_bytes(scheme, kPlain, 37, 512), dtype_bytes(type.dtype, 37 * 512));
    const auto q = quantize_matrix(m.view(), scheme, kPlain);
    EXPECT_EQ(std::ssize(q.parts[0]), dtype_bytes(type.dtype, 37 * 512));
    // Scales that follow small groups do better than one table for all, levels apart alike a little worse.
    const double share = loss(m, q) / squares(m.data);
    EXPECT_LT(share, 1.25 * least_loss(type.bits));
    EXPECT_GT(share, 0.4 * least_loss(type.bits));
  }
}

/// Weights that blocks hold are given back: nothing that is on the grid is moved far.
TEST(GgmlTypes, HoldWhatTheyHaveMade) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(16, 512, random);
  for (const ggml::Type& type : ggml::types()) {
    SCOPED_TRACE(type.name);
    const auto once = quantize_matrix(m.view(), scheme_of(type), kPlain);
    Matrix on_grid = m;
    dequantize_matrix(once.view(), on_grid.data.data());
    const auto again = quantize_matrix(on_grid.view(), scheme_of(type), kPlain);
    EXPECT_LT(loss(on_grid, again), 0.2 * loss(m, once));
  }
}

TEST(GgmlTypes, BlocksOfZerosConstantsAndOutliersAreHeld) {
  for (const ggml::Type& type : ggml::types()) {
    SCOPED_TRACE(type.name);
    Matrix m{std::vector<float>(4 * 256), 4, 256};
    for (int i = 0; i < 256; ++i) {
      m.data[256 + i] = 0.25f;
      m.data[512 + i] = -0.25f;
      m.data[768 + i] = i == 100 ? 50.0f : i == 200 ? -3.0f : 0.0f;
    }
    const auto q = quantize_matrix(m.view(), scheme_of(type), kPlain);
    std::vector<float> back(m.data.size());
    dequantize_matrix(q.view(), back.data());
    for (int i = 0; i < 256; ++i) {
      EXPECT_EQ(back[static_cast<size_t>(i)], 0.0f);
      EXPECT_NEAR(back[static_cast<size_t>(256 + i)], 0.25f, 0.02f);
      EXPECT_NEAR(back[static_cast<size_t>(512 + i)], -0.25f, 0.02f);
      EXPECT_TRUE(std::isfinite(back[static_cast<size_t>(768 + i)]));
    }
    EXPECT_NEAR(back[768 + 100], 50.0f, 2.0f);
  }
}

TEST(GgmlTypes, FeedbackKeepsOutputs) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(40, 512, random);
  const auto h = correlated(512, 1500, random);
  for (const ggml::Type& type : ggml::types()) {
    SCOPED_TRACE(type.name);
    QuantizeOptions options = kPlain;
    options.fit = Fit::gptq;
    const auto fed = quantize_matrix_gptq(m.view(), h, scheme_of(type), options);
    const auto alone = quantize_matrix(m.view(), scheme_of(type), kPlain);
    EXPECT_LT(error_by_definition(m, fed, h), 0.6 * error_by_definition(m, alone, h));
    // Without correlation there is nothing to gain.
    const auto same = quantize_matrix_gptq(m.view(), identity(512), scheme_of(type), options);
    EXPECT_NEAR(loss(m, same) / loss(m, alone), 1, 0.05);
  }
}

TEST(GgmlTypes, RefuseWhatTheyCannotHold) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(2, 96, random);
  expect_error(ErrorCode::unsupported, "rows of 96 weights for q4_k; expected whole blocks of 256",
               [&] { quantize_matrix(m.view(), parse_scheme("q4_k"), kPlain); });
  EXPECT_NO_THROW(quantize_matrix(m.view(), parse_scheme("q4_0"), kPlain));
  expect_error(ErrorCode::unsupported, "axis 0", [&] {
    quantize_matrix(m.view(), parse_scheme("q4_0"), {Fit::mse, 0, Metadata::q8, Normalize::none});
  });
  GptqOptions ordered;
  ordered.ordered_groups = 32;
  expect_error(ErrorCode::unsupported, "columns in another order for q4_0",
               [&] { quantize_matrix_gptq(m.view(), identity(96), parse_scheme("q4_0"), kPlain, ordered); });
}

}  // namespace
}  // namespace mxq
