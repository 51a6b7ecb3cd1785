// What is in a model.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "mxq/coverage.h"
#include "mxq/model.h"
#include "mxq/progress.h"

namespace mxq {

/// Of |w|, by linear interpolation between order statistics as numpy.percentile does.
inline constexpr std::array<double, 5> kPercentiles{0, 99, 99.9, 99.99, 100};

struct MatrixFacts {
  std::string name;
  int64_t rows = 0, cols = 0;
  std::string dtype;  // as stored; the scheme's name in an mxq checkpoint
  std::array<double, 5> percentiles{};
  double kurtosis = 0;  // fourth standardized moment; a normal distribution has 3
};

struct ModelReport {
  std::string architecture;  // model_type of config.json: "llama"; "unknown" for weights alone
  int64_t parameters = 0;
  std::vector<MatrixFacts> matrices;
  Coverage coverage;  // by a plan that leaves embedding and output matrix
};

ModelReport inspect_model(const Model& model, Progress* progress = nullptr);

}  // namespace mxq
