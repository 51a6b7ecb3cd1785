#include "model/rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "mxq/error.h"

namespace mxq {

namespace {

using Frequencies = std::vector<double>;

/// theta^(-2i / dims).
Frequencies plain(double theta, int64_t dims) {
  Frequencies frequencies;
  for (int64_t i = 0; i < dims / 2; ++i) {
    frequencies.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dims)));
  }
  return frequencies;
}

double original_length(const RopeShape& shape) {
  const auto& given = shape.settings.scaling->original_max_position_embeddings;
  return static_cast<double>(given.value_or(shape.max_positions));
}

/// Llama 3.1's reference code: wavelengths beyond the original context are stretched, those far within stay, between
/// them a linear mix.
void scale_llama3(const RopeShape& shape, Frequencies& frequencies) {
  const RopeScaling& scaling = *shape.settings.scaling;
  for (double& frequency : frequencies) {
    const double turns = original_length(shape) * frequency / (2 * std::numbers::pi);
    if (turns < scaling.low_freq_factor) {
      frequency /= scaling.factor;
    } else if (turns <= scaling.high_freq_factor) {
      const double mix = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
      frequency = (1 - mix) * frequency / scaling.factor + mix * frequency;
    }
  }
}

/// YaRN (Peng et al. 2023, arXiv 2309.00071): pairs that turn often within the original context stay, those that turn
/// seldom are stretched, between them a ramp over the pairs' numbers.
void scale_yarn(const RopeShape& shape, Frequencies& frequencies) {
  const RopeScaling& scaling = *shape.settings.scaling;
  const auto dims = static_cast<double>(shape.dims);
  const auto pair_of_turns = [&](double turns) {
    return dims * std::log(original_length(shape) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(shape.settings.theta));
  };
  double low = pair_of_turns(scaling.beta_fast), high = pair_of_turns(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] *= ramp / scaling.factor + 1 - ramp;
  }
}

double yarn_scale(const RopeScaling& scaling) {
  if (scaling.attention_factor) return *scaling.attention_factor;
  const auto magnitude = [&](double by) { return scaling.factor <= 1 ? 1 : 0.1 * by * std::log(scaling.factor) + 1; };
  if (scaling.mscale && scaling.mscale_all_dim) return magnitude(*scaling.mscale) / magnitude(*scaling.mscale_all_dim);
  return magnitude(1);
}

/// LongRoPE (Ding et al. 2024, arXiv 2402.13753).
double longrope_scale(const RopeShape& shape) {
  const RopeScaling& scaling = *shape.settings.scaling;
  if (scaling.attention_factor) return *scaling.attention_factor;
  if (scaling.factor <= 1) return 1;
  return std::sqrt(1 + std::log(scaling.factor) / std::log(original_length(shape)));
}

/// The base grows with the text, so that the slowest pair turns by the same angle in all.
double dynamic_theta(const RopeShape& shape, int64_t length) {
  const double dims = static_cast<double>(shape.dims), factor = shape.settings.scaling->factor;
  const double times =
      static_cast<double>(std::max(length, shape.max_positions)) / static_cast<double>(shape.max_positions);
  return shape.settings.theta * std::pow(factor * times - (factor - 1), dims / (dims - 2));
}

}  // namespace

int64_t rope_kind(const RopeShape& shape, int64_t length) {
  const auto& scaling = shape.settings.scaling;
  if (!scaling) return 0;
  if (scaling->type == "longrope") return static_cast<double>(length) > original_length(shape) ? 1 : 0;
  return scaling->type == "dynamic" && length > shape.max_positions ? length : 0;
}

RopeAngles rope_angles(const RopeShape& shape, int64_t length) {
  const auto& scaling = shape.settings.scaling;
  const bool dynamic = scaling && scaling->type == "dynamic";
  RopeAngles angles{plain(dynamic ? dynamic_theta(shape, length) : shape.settings.theta, shape.dims)};
  if (!scaling || dynamic) return angles;
  if (scaling->type == "linear") {
    for (double& frequency : angles.frequencies) frequency /= scaling->factor;
  } else if (scaling->type == "llama3") {
    scale_llama3(shape, angles.frequencies);
  } else if (scaling->type == "yarn") {
    scale_yarn(shape, angles.frequencies);
    angles.scale = yarn_scale(*scaling);
  } else if (scaling->type == "longrope") {
    const auto& divisors = rope_kind(shape, length) == 0 ? scaling->short_factor : scaling->long_factor;
    for (size_t i = 0; i < angles.frequencies.size(); ++i) angles.frequencies[i] /= divisors.at(i);
    angles.scale = longrope_scale(shape);
  } else {
    throw Error(ErrorCode::unsupported, "set up rotary embedding", fmt::format("rope_scaling '{}'", scaling->type),
                "linear, dynamic, yarn, longrope or llama3");
  }
  return angles;
}

}  // namespace mxq
