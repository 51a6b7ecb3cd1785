// Rotary position embedding (Su et al. 2021, arXiv 2104.09864): by which angles the pairs of a head turn at a position,
// as a configuration says it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mxq {

/// Hugging Face's rope_scaling. Which numbers are meant depends on the type.
struct RopeScaling {
  std::string type;  // "linear", "dynamic", "yarn", "longrope" or "llama3"
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;                // llama3
  std::optional<int64_t> original_max_position_embeddings;         // llama3, yarn, longrope; none: the model's own
  double beta_fast = 32, beta_slow = 1;                            // yarn
  std::optional<double> attention_factor, mscale, mscale_all_dim;  // yarn; the first also longrope
  bool truncate = true;                                            // yarn: the bounds of the ramp are whole numbers
  std::vector<double> short_factor, long_factor;                   // longrope: a divisor for each pair

  bool operator==(const RopeScaling&) const = default;
};

struct RopeSettings {
  double theta = 10000;
  std::optional<RopeScaling> scaling;

  bool operator==(const RopeSettings&) const = default;
};

/// The angles of a text.
struct RopeAngles {
  std::vector<double> frequencies;  // of each pair, in radians a position
  double scale = 1;                 // cosines and sines are multiplied by it
};

/// How rotated heads of one kind of layer look: their settings, the rotated dimensions (even), and
/// max_position_embeddings.
struct RopeShape {
  RopeSettings settings;
  int64_t dims = 0, max_positions = 0;
};

/// Texts whose lengths are of one kind have the same angles. 0 for all but long texts under longrope (1) and dynamic
/// (the length).
int64_t rope_kind(const RopeShape& shape, int64_t length);

/// Of a text of `length` tokens, as transformers 4.57 computes them. Throws Error(unsupported) for a type that is none
/// of those above.
RopeAngles rope_angles(const RopeShape& shape, int64_t length);

}  // namespace mxq
