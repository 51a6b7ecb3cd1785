// How much a model's outputs suffer from errors in each of its matrices: the factors of the objective `kl`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "mxq/calibration.h"
#include "mxq/error_table.h"
#include "mxq/generate.h"
#include "mxq/model.h"
#include "mxq/progress.h"
#include "mxq/run_options.h"
#include "mxq/scheme.h"

namespace mxq {

struct SensitivityOptions {
  /// The model's own text, on which its outputs are compared.
  SelfText text = probe_text(384);
  /// What each matrix is turned into, alone, to see what that costs; with the fit that will be used.
  Scheme probe{3, 64};
  QuantizeOptions quantize;
  /// On which probes are fitted: all of them to the inputs that the model has as it is.
  CalibrationText calibration;
  /// Of the forward pass; gradients are fp32. nullopt: best_compute().
  std::optional<Compute> compute;
  /// Where finished probes are remembered by content, so that a killed run goes on where it was; empty: nowhere.
  std::filesystem::path cache;
};

struct SensitivityReport {
  int64_t probes = 0, from_cache = 0;
  SampleHealth sample;
  /// Matrices whose probe, or what the model makes of it, is not a number: their sensitivity is unknown, and taken as
  /// the largest. The probe's scheme and those of as large an error are no longer in their rows of the table.
  std::vector<std::string> not_finite;
  double seconds = 0;
};

/// Sets MatrixErrors::sensitivity of all matrices of the table, which measure_model() made of this model:
/// KL(model || only this matrix probed) / ||W - Q||_F^2, in nats a token (HIGGS, arXiv 2411.17525: the divergence is
/// linear in the squared errors of the matrices), the KL estimated by gradients (docs/reference/algorithms.md). Of
/// calibrated fits ||W - Q||_F^2 is that of the same scheme by mse without calibration, which is what measure_model()
/// tables: only ratios between schemes count. A matrix that the probe does not change gets the largest sensitivity of
/// all. Throws what opening, sampling and running the model throw.
SensitivityReport measure_sensitivity(const Model& model, ErrorTable& table, const SensitivityOptions& options = {},
                                      Progress* progress = nullptr);

}  // namespace mxq
