// Scale and zero of every group of a block, before they are stored.
#pragma once

#include "schemes/groups/blocks.h"

namespace mxq::affine {

using namespace groups;

/// Per-group results (see Block for the order of the entries).
struct FittedBlock {
  // rtn and hqq: the hqq package's numbers, W = (q - zero) / inverse_scale.
  alignas(64) float inverse_scale[kMaxSlots];
  alignas(64) float zero[kMaxSlots];
  // All fits: W = center + scale * (q - middle), what metadata is made from. scale 0: the group is constant.
  alignas(64) float scale[kMaxSlots];
  alignas(64) float center[kMaxSlots];
};

/// Fit::rtn: hqq's start from minimum and maximum. Fills all four arrays.
void fit_rtn(const Block& block, int bits, FittedBlock& fitted);

/// Makes scale and center of a group from inverse_scale and zero, once hqq's rounds have changed them. Groups that
/// hqq takes for constant (range below 1e-4: its scale of 1 says nothing about them) keep those of fit_rtn.
void centers_from_zeros(const Block& block, int bits, FittedBlock& fitted);

inline constexpr float kShrinks[] = {1.0f, 0.9f, 0.8f, 0.7f};
inline constexpr float kNudges[] = {0.94f, 0.97f, 1.03f, 1.06f};
/// Starts and rounds were chosen on real matrices (docs/decisions/0003-metadata-first.md).
inline constexpr LeastSquaresSearch kThoroughSearch{.shrinks = kShrinks,
                                                    .starts = 4,
                                                    .rounds_per_start = 3,
                                                    .nudges = kNudges,
                                                    .nudge_count = 4,
                                                    .rounds_per_nudge = 3,
                                                    .rounds = 8};

/// From this width on, a grid of 8-bit metadata is coarse against the codes: searching it matters more than the fit.
inline constexpr int kWideCodes = 6;

/// Fit::mse. Fills scale and center; less thoroughly where store_metadata will search the stored grid. `weights` are
/// those of tile_fit_mse.
void fit_mse(const Block& block, int bits, Metadata metadata, FittedBlock& fitted, const float* weights = nullptr);

}  // namespace mxq::affine
