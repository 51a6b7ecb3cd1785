// Families of schemes: what a matrix's weights become, whatever was done to the matrix before (normalize.h).
// docs/guides/adding-a-scheme.md shows how to add one.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mxq/quantized_matrix.h"
#include "mxq/scheme.h"
#include "mxq/tensor.h"

namespace mxq {

class FeedbackFactor;
class SharedNormalization;
struct NormalizedMatrix;
namespace feedback {
class GroupCoding;
}

class SchemeFamily {
 public:
  virtual ~SchemeFamily() = default;

  /// A literal: Scheme::family of its schemes.
  virtual std::string_view name() const = 0;
  virtual std::string scheme_name(const Scheme& scheme) const = 0;
  /// All that parse_scheme() knows of it, in ascending order of bits and of groups.
  virtual const std::vector<Scheme>& schemes() const = 0;
  /// What the family's name stands for in a list.
  virtual const std::vector<Scheme>& usual_schemes() const { return schemes(); }

  /// Throws Error(unsupported) for a scheme, axis or metadata that no code here handles.
  virtual void check(const Scheme& scheme, int axis, Metadata metadata, const char* operation) const = 0;

  /// Rows must be a whole number of so many columns (check_columns() of validate.h).
  virtual int64_t block_columns() const { return 1; }

  /// See QuantizedLayout::parts(); without column_scales.
  virtual std::vector<PartSpec> parts(const QuantizedLayout& layout) const = 0;

  /// Fills the parts of `out`, which are zeroed, but for column_scales. The weights are finite, the layout has been
  /// checked, and the matrix is not empty. Deterministic whatever the thread count.
  virtual void quantize(MatrixView matrix, const QuantizeOptions& options, QuantizedMatrix& out) const = 0;

  /// Rows [first_row, first_row + rows), bit for bit the same whatever the range. All lengths have been checked; rows
  /// and columns are more than 0.
  virtual void dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out) const = 0;

  /// See measure_matrix(), which has checked everything. Here: one scheme after another, quantized and back.
  /// `normalization` is the matrix's, by options.normalize.
  virtual std::vector<double> measure(MatrixView matrix, std::span<const Scheme> schemes,
                                      const QuantizeOptions& options, SharedNormalization& normalization) const;

  /// Whether matrices can be coded with error feedback (schemes/feedback/), on axis 1. Others are quantized from the
  /// weights alone where the fit is gptq.
  virtual bool takes_feedback() const { return false; }
  /// Whether the fit has a say in what the family makes of a matrix: rtn and mse are what a family does by itself.
  virtual bool takes_fit(Fit fit) const {
    return fit == Fit::rtn || fit == Fit::mse || (fit == Fit::gptq && takes_feedback());
  }
  /// Fills the parts of `out`, which are zeroed, but for column_scales, with codes that lose least of the outputs whose
  /// inputs `factor` knows. Scheme, axis and metadata have been checked, the weights are finite, the matrix is not
  /// empty. Deterministic whatever the thread count. Here: column by column (code_by_columns() of feedback/columns.h)
  /// with what group_coding() says; a family that codes several columns together has a way of its own.
  virtual void code_matrix(MatrixView matrix, const FeedbackFactor& factor, QuantizedMatrix& out) const;
  /// Of families that are coded column by column, with codes in the part `codes`, rows of layout.code_row_bytes(): what
  /// is done with each group. See feedback/group_coding.h.
  virtual std::unique_ptr<feedback::GroupCoding> group_coding(MatrixView matrix, const FeedbackFactor& factor,
                                                              QuantizedMatrix& out) const;

  /// Whether the scheme holds these weights nearly as they are: see lies_on_grid() of normalize.h.
  virtual bool holds_as_they_are(MatrixView sample, const Scheme& scheme, const QuantizeOptions& options) const;
};

/// In the order in which they are named to users.
const std::vector<const SchemeFamily*>& all_families();

/// Throws Error(usage) naming the families for anything else.
const SchemeFamily& family_of(std::string_view name);

/// ||W - Q||_F, summed row by row.
double squared_error_norm(MatrixView matrix, const QuantizedView& quantized);
/// That of what quantize_matrix() makes of it, normalized already.
double quantized_error_norm(MatrixView matrix, const NormalizedMatrix& normalized, const Scheme& scheme,
                            const QuantizeOptions& options);

}  // namespace mxq
