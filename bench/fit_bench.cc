// Times and squared errors of the fits on matrices from a file; fit_vs_hqq.py and nf4_vs_bitsandbytes.py
// write it and set the figures beside the packages'.
//
//   bench_fit MATRICES [--threads N] [--repeat R] [--axis 0|1] [--schemes b4g64,...]
//
// MATRICES: for each matrix i64 length of its name, the name, i64 rows, i64 cols, rows * cols f32.
// Prints JSON: {"<scheme>": {"hqq": {"seconds", "back", "squared_error"}, "mse": {...}, "rtn": {...}},
// "measure_12_mse": seconds, "weights": count}. Seconds (back: of dequantizing) are over all matrices, the least of R
// runs.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "mxq/quantized_matrix.h"
#include "mxq/text.h"
#include "timing.h"

namespace {

struct NamedMatrix {
  std::string name;
  int64_t rows = 0, cols = 0;
  std::vector<float> data;
  mxq::MatrixView view() const { return {data.data(), rows, cols}; }
};

std::vector<NamedMatrix> read_matrices(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<NamedMatrix> all;
  int64_t length = 0;
  while (file.read(reinterpret_cast<char*>(&length), 8)) {
    NamedMatrix m;
    m.name.resize(static_cast<size_t>(length));
    file.read(m.name.data(), length);
    file.read(reinterpret_cast<char*>(&m.rows), 8);
    file.read(reinterpret_cast<char*>(&m.cols), 8);
    m.data.resize(static_cast<size_t>(m.rows * m.cols));
    file.read(reinterpret_cast<char*>(m.data.data()), static_cast<std::streamsize>(m.data.size() * sizeof(float)));
    all.push_back(std::move(m));
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_fit MATRICES [--threads N] [--repeat R] [--axis A] [--schemes a,b]\n");
    return 2;
  }
  int repeat = 3, axis = 1;
  bool measure_all = true;
  std::vector<mxq::Scheme> schemes = mxq::paper_schemes();
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--threads") mxq::set_threads(std::atoi(argv[i + 1]));
    if (flag == "--repeat") repeat = std::atoi(argv[i + 1]);
    if (flag == "--axis") axis = std::atoi(argv[i + 1]);
    if (flag == "--schemes") {
      schemes.clear();
      measure_all = false;
      for (const auto& name : mxq::split(argv[i + 1], ',')) schemes.push_back(mxq::parse_scheme(name));
    }
  }
  const std::vector<NamedMatrix> matrices = read_matrices(argv[1]);
  int64_t weights = 0;
  for (const auto& m : matrices) weights += m.view().size();

  nlohmann::ordered_json out;
  const struct {
    mxq::Fit fit;
    mxq::Metadata metadata;
  } fits[] = {
      {mxq::Fit::hqq, mxq::Metadata::f32}, {mxq::Fit::mse, mxq::Metadata::q8}, {mxq::Fit::rtn, mxq::Metadata::q8}};
  for (const mxq::Scheme& scheme : schemes) {
    for (const auto& [fit, metadata] : fits) {
      const mxq::QuantizeOptions options{fit, axis, metadata};
      // The answer first: what is measured is what quantizing and dequantizing loses.
      double squared = 0;
      std::vector<float> back;
      for (const auto& m : matrices) {
        const auto quantized = mxq::quantize_matrix(m.view(), scheme, options);
        back.resize(m.data.size());
        mxq::dequantize_matrix(quantized.view(), back.data());
        double sum = 0;
        for (size_t i = 0; i < back.size(); ++i) sum += std::pow(double{m.data[i]} - double{back[i]}, 2);
        const double measured = mxq::measure_matrix(m.view(), {&scheme, 1}, options)[0];
        if (std::fabs(measured - std::sqrt(sum)) > 1e-9 * measured) {
          std::fprintf(stderr, "%s: measured and dequantized errors differ\n", m.name.c_str());
          return 1;
        }
        squared += sum;
      }
      const double seconds = least_seconds(repeat, [&] {
        for (const auto& m : matrices) mxq::quantize_matrix(m.view(), scheme, options);
      });
      std::vector<mxq::QuantizedMatrix> quantized;
      for (const auto& m : matrices) {
        quantized.push_back(mxq::quantize_matrix(m.view(), scheme, options));
        back.resize(std::max(back.size(), m.data.size()));
      }
      const double back_seconds = least_seconds(repeat, [&] {
        for (const auto& q : quantized) mxq::dequantize_matrix(q.view(), back.data());
      });
      out[scheme.name()][std::string(mxq::fit_name(fit))] = {
          {"seconds", seconds}, {"back", back_seconds}, {"squared_error", squared}};
    }
  }
  if (measure_all) {
    out["measure_12_mse"] = least_seconds(repeat, [&] {
      for (const auto& m : matrices) mxq::measure_matrix(m.view(), schemes, {mxq::Fit::mse, axis, mxq::Metadata::q8});
    });
  }
  out["weights"] = weights;
  std::cout << out.dump(1) << "\n";
  return 0;
}
