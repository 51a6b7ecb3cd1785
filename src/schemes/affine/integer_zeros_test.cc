// Grids whose zero is a code: the bias tells scale and zero, and they lose less than the range's and the symmetric
// ones.
#include "schemes/affine/integer_zeros.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/bitpack.h"
#include "base/half.h"
#include "schemes/family.h"
#include "schemes/feedback/gptq.h"
#include "schemes/feedback/test_matrices.h"

namespace mxq {
namespace {

constexpr int kGroup = 64;

/// W as files have it: the zero by rounding, then (code - zero) * scale.
std::vector<float> as_the_files_say(const QuantizedMatrix& q, double* furthest = nullptr) {
  const auto value = [&](std::string_view part, int64_t group) {
    uint16_t bits;
    std::memcpy(&bits, q.part(part).data() + 2 * group, 2);
    return q.layout.metadata == Metadata::f16_bias ? f32_from_f16(bits) : f32_from_bf16(bits);
  };
  const int64_t rows = q.layout.rows, cols = q.layout.cols, groups = cols / kGroup;
  std::vector<float> back;
  std::vector<uint8_t> codes(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    unpack_codes(q.part("codes").subspan(static_cast<size_t>(r * q.layout.code_row_bytes())), q.layout.scheme.bits, 0,
                 cols, codes.data());
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t group = r * groups + c / kGroup;
      const auto step = static_cast<float>(affine::zero_step(q.layout.scheme.bits, q.layout.metadata));
      const float scale = value("scales", group), real = -value("biases", group) / scale;
      const float zero = step * std::nearbyint(real / step);
      EXPECT_GE(zero, 0);
      EXPECT_LT(zero, 1 << q.layout.scheme.bits);
      if (furthest != nullptr) *furthest = std::max(*furthest, std::fabs(double{real} - zero) / step);
      back.push_back((static_cast<float>(codes[static_cast<size_t>(c)]) - zero) * scale);
    }
  }
  return back;
}

double squared(const Matrix& m, const std::vector<float>& back) {
  double sum = 0;
  for (size_t i = 0; i < back.size(); ++i) sum += std::pow(double{m.data[i]} - back[i], 2);
  return sum;
}

/// Squared error of the range's grid, as GPTQ publishes it, with nearest codes.
double range_error(const Matrix& m, int bits) {
  const double top = (1 << bits) - 1;
  double sum = 0;
  for (size_t first = 0; first < m.data.size(); first += kGroup) {
    double low = 0, high = 0;
    for (int i = 0; i < kGroup; ++i) {
      low = std::min(low, double{m.data[first + i]});
      high = std::max(high, double{m.data[first + i]});
    }
    const double scale = (high - low) / top, zero = std::nearbyint(-low / scale);
    for (int i = 0; i < kGroup; ++i) {
      const double w = m.data[first + i];
      sum += std::pow(w - (std::clamp(std::nearbyint(w / scale) + zero, 0.0, top) - zero) * scale, 2);
    }
  }
  return sum;
}

QuantizeOptions with(Metadata metadata, ZeroPoint zero_point = ZeroPoint::integer) {
  QuantizeOptions options{Fit::mse, 1, metadata};
  options.feedback.zero_point = zero_point;
  return options;
}

TEST(IntegerZeros, EveryGroupHasACodeForAZero) {
  std::mt19937 random(kSeed);
  Matrix m = gaussian(33, 192, random);
  for (int64_t c = 0; c < 64; ++c) {
    m.data[c] = 0;                                  // a group of zeros
    m.data[192 + c] = std::fabs(m.data[192 + c]);   // one of positive weights
    m.data[384 + c] = -std::fabs(m.data[384 + c]);  // one of negative ones
    m.data[576 + c] *= 1e-6f;                       // below what fp16 holds well
    m.data[768 + c] *= 1e5f;                        // beyond what it holds
    m.data[960 + c] = 0.25f;                        // constants
    m.data[1152 + c] = -0.25f;
    m.data[1344 + c] += 10;                                  // far from 0
    m.data[1536 + c] += 0.004f * static_cast<float>(c % 7);  // not around 0
  }
  const auto h = correlated(192, 600, random);
  GptqOptions gptq;
  gptq.grid = GptqOptions::Grid::range;
  for (const Metadata metadata : {Metadata::f16_bias, Metadata::bf16_bias}) {
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
      SCOPED_TRACE(testing::Message() << metadata_name(metadata) << " " << bits << " bits, seed " << kSeed);
      QuantizeOptions options = with(metadata);
      double furthest = 0;
      const auto back = as_the_files_say(quantize_matrix(m.view(), {bits, kGroup}, options), &furthest);
      for (int c = 0; c < 64; ++c) {
        EXPECT_EQ(back[static_cast<size_t>(c)], 0);
        EXPECT_NEAR(back[static_cast<size_t>(960 + c)], 0.25, 0.25 / 200);
        EXPECT_NEAR(back[static_cast<size_t>(1152 + c)], -0.25, 0.25 / 200);
      }
      options.fit = Fit::gptq;
      as_the_files_say(quantize_matrix_gptq(m.view(), h, {bits, kGroup}, options, gptq), &furthest);
      EXPECT_LT(furthest, 0.499);  // so that no rounding is in doubt
    }
  }
}

/// A bias of BF16 does not tell zeros of 8 bits apart: multiples of 4 lose little, whatever the groups' ranges.
TEST(IntegerZeros, Of8BitsInBf16AreMultiplesOf4) {
  std::mt19937 random(kSeed);
  Matrix m = gaussian(64, 256, random);
  for (size_t i = 0; i < m.data.size(); ++i) m.data[i] += 0.0005f * static_cast<float>(i / kGroup % 64);
  const auto options = with(Metadata::bf16_bias);
  double furthest = 0;
  const double lost = squared(m, as_the_files_say(quantize_matrix(m.view(), {8, kGroup}, options), &furthest));
  EXPECT_LT(furthest, 0.26);
  const double of_f16 = squared(m, as_the_files_say(quantize_matrix(m.view(), {8, kGroup}, with(Metadata::f16_bias))));
  EXPECT_LT(lost, 1.15 * of_f16);
}

/// Of 2 bits the two scales' signs are all that zeros have to say; of 8 bits they say where the group lies.
TEST(IntegerZeros, LoseLessThanTheRangeAndNoMoreThanSymmetricGrids) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(48, 256, random);
  struct Most {
    int bits;
    double of_range, of_symmetric;
  };
  for (const auto& [bits, of_range, of_symmetric] :
       {Most{2, 0.65, 1.005}, {3, 0.82, 1.0}, {4, 0.93, 0.95}, {5, 0.94, 0.9}, {6, 0.94, 0.87}, {8, 0.94, 0.84}}) {
    SCOPED_TRACE(testing::Message() << bits << " bits, seed " << kSeed);
    const Scheme scheme{bits, kGroup};
    const auto lost_with = [&](ZeroPoint zero_point) {
      const double norm =
          squared_error_norm(m.view(), quantize_matrix(m.view(), scheme, with(Metadata::f16_bias, zero_point)).view());
      return norm * norm;
    };
    const double lost = squared(m, as_the_files_say(quantize_matrix(m.view(), scheme, with(Metadata::f16_bias))));
    EXPECT_LT(lost, of_range * range_error(m, bits));
    EXPECT_LT(lost, of_symmetric * lost_with(ZeroPoint::symmetric));
    EXPECT_LT(lost, 1.25 * lost_with(ZeroPoint::real));
    const double norm = std::sqrt(lost);
    EXPECT_NEAR(measure_matrix(m.view(), {&scheme, 1}, with(Metadata::f16_bias)).front(), norm, 1e-6 * norm);
  }
}

/// No grid of these loses less: all zeros, and scales closer than matters.
TEST(IntegerZeros, AreNearlyTheBestOfAll) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(16, kGroup, random);
  for (const int bits : {2, 3, 4}) {
    const double top = (1 << bits) - 1;
    double best = 0;
    for (size_t first = 0; first < m.data.size(); first += kGroup) {
      double least = 1e30;
      for (double zero = 0; zero <= top; ++zero) {
        for (double scale = 0.0005; scale < 0.08; scale *= 1.003) {
          double sum = 0;
          for (int i = 0; i < kGroup; ++i) {
            const double w = m.data[first + i];
            sum += std::pow(w - (std::clamp(std::nearbyint(w / scale + zero), 0.0, top) - zero) * scale, 2);
          }
          least = std::min(least, sum);
        }
      }
      best += least;
    }
    const double lost =
        squared(m, as_the_files_say(quantize_matrix(m.view(), {bits, kGroup}, with(Metadata::f16_bias))));
    EXPECT_LT(lost, 1.003 * best) << bits << " bits, seed " << kSeed;
  }
}

/// Error feedback finds scales and zeros for what it does to the weights, in either order of columns.
TEST(IntegerZeros, FeedbackLosesLessOfTheOutputs) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(48, 256, random);
  const auto h = correlated(256, 600, random);
  for (const int bits : {2, 3, 4, 8}) {
    QuantizeOptions options = with(Metadata::f16_bias);
    const double alone = output_error(m.view(), quantize_matrix(m.view(), {bits, kGroup}, options).view(), h);
    options.fit = Fit::gptq;
    for (const int64_t ordered : {0, 64}) {
      GptqOptions gptq;
      gptq.grid = GptqOptions::Grid::range;
      gptq.ordered_groups = ordered;
      const QuantizedMatrix fed = quantize_matrix_gptq(m.view(), h, {bits, kGroup}, options, gptq);
      EXPECT_LT(output_error(m.view(), fed.view(), h), 0.7 * alone) << bits << " bits, seed " << kSeed;
    }
  }
}

}  // namespace
}  // namespace mxq
