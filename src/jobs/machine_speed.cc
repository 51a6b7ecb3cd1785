// How fast this machine is, found by doing a little of what jobs do.
#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "base/stopwatch.h"
#include "kernels/matmul.h"
#include "kernels/rows.h"
#include "mxq/forecast.h"
#include "mxq/quantized_matrix.h"
#include "mxq/runtime.h"

namespace mxq {

namespace {

/// The matrix that rows are multiplied with: 8 MB in fp32, 512 rows of it where there are many.
constexpr int64_t kOut = 2048, kIn = 1024, kFewOut = 512;
/// Enough rows to keep two threads busy: of 64, a weight took twice as long.
constexpr int64_t kFitRows = 256, kFitCols = 256;
constexpr int kRepeats = 3;

/// Seconds of the middle one of some runs.
template <typename Run>
double time(Run run) {
  std::vector<double> seconds;
  for (int i = 0; i < kRepeats; ++i) {
    const Stopwatch watch;
    run();
    seconds.push_back(watch.seconds());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[kRepeats / 2];
}

template <typename T, typename Multiply>
MachineSpeed::Products time_products(T one, const Multiply& multiply) {
  const std::vector<T> x(static_cast<size_t>(MachineSpeed::kRows.back() * kIn), one);
  std::vector<float> y(static_cast<size_t>(MachineSpeed::kRows.back() * kOut));
  MachineSpeed::Products products;
  for (size_t i = 0; i < products.seconds.size(); ++i) {
    const int64_t rows = MachineSpeed::kRows[i], out = rows < 256 ? kOut : kFewOut;
    const auto run = [&] { multiply(rows, out, x.data(), y.data()); };
    run();  // sets things up
    products.seconds[i] = time(run) / static_cast<double>(out * kIn);
  }
  return products;
}

/// A byte of them: 8 MB are beyond what a few cores keep for themselves. More would be the most memory that a small job
/// takes.
double time_reading(const std::vector<float>& memory) {
  constexpr int64_t kPiece = 16384;
  static_assert(kOut * kIn % kPiece == 0);
  std::vector<float> sums(memory.size() / kPiece);
  const double seconds = time([&] {
    parallel_for(std::ssize(sums), [&](int64_t i) {
      const float* piece = memory.data() + i * kPiece;
      sums[static_cast<size_t>(i)] = dot(piece, piece, kPiece);
    });
  });
  return seconds / static_cast<double>(memory.size() * sizeof(float));
}

MachineSpeed time_machine() {
  MachineSpeed speed;
  const std::vector<float> weights(static_cast<size_t>(kOut * kIn), 1.0f);
  speed.read_byte = time_reading(weights);
  speed.f32 = time_products(1.0f, [&](int64_t rows, int64_t out, const float* x, float* y) {
    matmul_transposed(rows, out, kIn, x, kIn, weights.data(), kIn, y, out);
  });
  speed.bf16 = speed.f32;
  if (!bf16_matmul_supported()) return speed;
  constexpr uint16_t one = 0x3F80;
  const std::vector<uint16_t> halves(static_cast<size_t>(kOut * kIn), one);
  const Bf16Weights many(kOut, kIn, halves.data()), few(kFewOut, kIn, halves.data());
  speed.bf16 = time_products(one, [&](int64_t rows, int64_t out, const uint16_t* x, float* y) {
    (out == kOut ? many : few).multiply(rows, x, y);
  });
  return speed;
}

/// A weight, in all of the schemes.
double time_measuring(const Method& method) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> weights(static_cast<size_t>(kFitRows * kFitCols));
  for (float& w : weights) w = normal(random);
  const MatrixView matrix{weights.data(), kFitRows, kFitCols};
  const QuantizeOptions options = tabled(method.quantize);
  measure_matrix(matrix, {method.schemes.data(), 1}, options);  // threads and tables are made
  return time([&] { measure_matrix(matrix, method.schemes, options); }) / static_cast<double>(weights.size());
}

}  // namespace

double MachineSpeed::Products::of(int64_t rows) const {
  for (size_t i = 1; i < kRows.size(); ++i) {
    if (rows > kRows[i]) continue;
    const auto from = static_cast<double>(kRows[i - 1]), to = static_cast<double>(kRows[i]);
    const double share = (std::max(from, static_cast<double>(rows)) - from) / (to - from);
    return seconds[i - 1] + share * (seconds[i] - seconds[i - 1]);
  }
  return 2 * static_cast<double>(rows) * operation();
}

MachineSpeed measure_speed() {
  static std::map<int, MachineSpeed> known;  // by the number of threads
  const auto found = known.find(threads());
  return found != known.end() ? found->second : known.emplace(threads(), time_machine()).first->second;
}

MachineSpeed measure_speed(const Method& method) {
  static std::map<std::string, double> known;
  std::string key = std::to_string(threads()) + " " + section_key(method.quantize, "quantize");
  for (const Scheme& scheme : method.schemes) key += " " + scheme.name();
  MachineSpeed speed = measure_speed();
  const auto found = known.find(key);
  speed.measured = found != known.end() ? found->second : known.emplace(key, time_measuring(method)).first->second;
  return speed;
}

}  // namespace mxq
