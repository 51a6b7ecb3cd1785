// How fast one core reads GGUF's types of blocks as floats, beside memcpy.
//
//   bench_read [--mebi-weights N] [--repeat R]
//
// For each type a matrix of N Mi weights (default 16) of random bytes: GB/s of the file's bytes that read_f32 takes,
// and of floats that it writes, into memory (one matrix) and into the cache (64 Ki weights at a time, as code that goes
// on with them at once reads). The least time of R runs (default 5). A copy of the floats is the limit of the former.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "format/weights.h"
#include "mxq/runtime.h"
#include "timing.h"

namespace {

/// Random bytes whose 16-bit words are no NaN and no infinity, so that no type meets a slow number by chance.
std::vector<std::byte> random_bytes(int64_t size) {
  std::vector<std::byte> bytes(static_cast<size_t>(size));
  std::mt19937_64 random(1);
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    const uint64_t word = random() & 0xbfbfbfbfbfbfbfbfu;
    std::memcpy(bytes.data() + i, &word, 8);
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  int64_t weights = 16;
  int repeat = 5;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--mebi-weights") weights = std::max(1, std::atoi(argv[i + 1]));
    if (flag == "--repeat") repeat = std::max(1, std::atoi(argv[i + 1]));
  }
  weights <<= 20;
  mxq::set_threads(1);
  constexpr int64_t kChunk = int64_t{1} << 16;
  std::vector<float> out(static_cast<size_t>(weights)), from(out.size(), 1.f);
  const auto rate = [](int64_t bytes, double seconds) { return static_cast<double>(bytes) / seconds * 1e-9; };
  const double copied =
      least_seconds(repeat, [&] { std::memcpy(out.data(), from.data(), out.size() * sizeof(float)); });
  fmt::print("{} Mi weights, one core, GB/s; memcpy of floats: {:.2f}\n\n", weights >> 20, rate(weights * 4, copied));
  fmt::print(
      "| type | bits a weight | file's bytes | floats written | file's bytes, to the cache | floats, to the cache |\n");
  fmt::print("|---|---|---|---|---|---|\n");
  std::vector<mxq::DType> types{mxq::DType::f32, mxq::DType::f16, mxq::DType::bf16};
  for (int i = static_cast<int>(mxq::DType::q4_0); i <= static_cast<int>(mxq::DType::mxfp4); ++i) {
    types.push_back(static_cast<mxq::DType>(i));
  }
  for (const mxq::DType dtype : types) {
    const int64_t size = mxq::dtype_bytes(dtype, weights);
    const auto bytes = random_bytes(size);
    const mxq::TensorView view{"w", dtype, {weights}, bytes};
    const double whole = least_seconds(repeat, [&] { mxq::read_f32(view, 0, weights, out.data()); });
    const double chunks = least_seconds(repeat, [&] {
      for (int64_t first = 0; first < weights; first += kChunk) mxq::read_f32(view, first, kChunk, out.data());
    });
    fmt::print("| {} | {:.4g} | {:.2f} | {:.1f} | {:.2f} | {:.1f} |\n", mxq::dtype_name(dtype),
               8.0 * static_cast<double>(size) / static_cast<double>(weights), rate(size, whole),
               rate(weights * 4, whole), rate(size, chunks), rate(weights * 4, chunks));
  }
}
