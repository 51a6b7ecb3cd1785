// From a model whose matrices are quantized to another file format, with the weights that it has.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mxq/model.h"
#include "mxq/plan_file.h"
#include "mxq/progress.h"
#include "mxq/quantize_model.h"

namespace mxq {

struct ExportReport {
  WriteReport written;
  PlanFile plan;  // which scheme of the format each matrix has
  /// The most that a matrix has changed, |W - W'| / |W| in Frobenius norms: formats round scales and zeros differently.
  double largest_change = 0;
};

/// The most that a matrix may change. Coding eight-bit weights anew would change more.
inline constexpr double kLargestExportChange = 0.003;

/// Writes `out` in the format. Each matrix that the model's files hold quantized gets the scheme of fewest bytes that
/// holds its weights; those whose name one of `skip` finds, and all else, are written as plain floats. Throws
/// Error(unsupported) naming a matrix whose weights no scheme of the format holds, or where none is quantized; and what
/// quantize_model() throws.
ExportReport export_model(const Model& model, const std::filesystem::path& out, const std::string& format,
                          const std::vector<std::string>& skip = {}, const WriteOptions& options = {},
                          Progress* progress = nullptr);

}  // namespace mxq
