// A model's error table: every scheme tried on every matrix.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "mxq/error_table.h"
#include "mxq/matrix_selection.h"
#include "mxq/model.h"
#include "mxq/progress.h"
#include "mxq/scheme.h"

namespace mxq {

struct MeasureOptions {
  std::vector<Scheme> schemes = wide_schemes();
  QuantizeOptions quantize;
  MatrixSelection matrices;
  /// The file format that is planned for: says which schemes a matrix can have, and what they take.
  std::string format = "mxq";
  /// Where finished matrices are remembered by content, so that a killed run goes on where it was; empty: nowhere.
  std::filesystem::path cache;
};

struct Measurement {
  ErrorTable table;
  int64_t matrices_from_cache = 0;
  double seconds = 0;
};

/// What the schemes take on each matrix: the model's error table, with errors and norms of 0. Reads headers only.
/// Throws Error(not_found) where the model has no matrix to quantize.
ErrorTable size_table(const Model& model, const MeasureOptions& options);

/// Streams the model from disk, one matrix in memory at a time.
/// Throws Error(not_finite) naming tensor and index for a weight that is not a number, Error(not_found) where the
/// model has no matrix to quantize.
Measurement measure_model(const Model& model, const MeasureOptions& options, Progress* progress = nullptr);

}  // namespace mxq
