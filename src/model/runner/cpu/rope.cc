#include "model/runner/cpu/rope.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "kernels/rows.h"
#include "mxq/error.h"

namespace mxq {

namespace {

double scaled(double frequency, const RopeScaling& scaling) {
  if (scaling.type == "linear") return frequency / scaling.factor;
  if (scaling.type == "llama3" && scaling.original_max_position_embeddings) {
    // Wavelengths beyond the original context are stretched, those far within stay, between them a linear mix.
    const double turns =
        static_cast<double>(*scaling.original_max_position_embeddings) * frequency / (2 * std::numbers::pi);
    if (turns < scaling.low_freq_factor) return frequency / scaling.factor;
    if (turns > scaling.high_freq_factor) return frequency;
    const double mix = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    return (1 - mix) * frequency / scaling.factor + mix * frequency;
  }
  throw Error(ErrorCode::unsupported, "set up rotary embedding", fmt::format("rope_scaling '{}'", scaling.type),
              "none, linear or llama3");
}

}  // namespace

Rope::Rope(const ModelConfig& config) : half_(config.head_dim / 2) {
  for (int64_t i = 0; i < half_; ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
    const double frequency = std::pow(config.rope_theta, -exponent);
    frequencies_.push_back(config.rope_scaling && config.rope_scaling->type != "default"
                               ? scaled(frequency, *config.rope_scaling)
                               : frequency);
  }
}

void Rope::reserve(int64_t positions) {
  for (auto position = static_cast<int64_t>(cos_.size()) / std::max<int64_t>(1, half_); position < positions;
       ++position) {
    for (const double frequency : frequencies_) {
      const double angle = static_cast<double>(position) * frequency;
      cos_.push_back(static_cast<float>(std::cos(angle)));
      sin_.push_back(static_cast<float>(std::sin(angle)));
      minus_sin_.push_back(-sin_.back());
    }
  }
}

void Rope::rotate(float* head, int64_t position) const {
  rotate_pairs(head, cos_.data() + position * half_, sin_.data() + position * half_, half_);
}

void Rope::rotate_back(float* head, int64_t position) const {
  rotate_pairs(head, cos_.data() + position * half_, minus_sin_.data() + position * half_, half_);
}

}  // namespace mxq
