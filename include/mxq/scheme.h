// Schemes: what a matrix is turned into.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

/// `bits` a weight in groups of `group` weights, and what the family keeps for each group: of affine a scale and a zero
/// ((b1, g1) of the paper; the metadata's b2 = 8 and g2 = 128 follow from Metadata::q8).
struct Scheme {
  int bits = 4;
  int group = 64;
  /// One of scheme_families(); always a literal.
  std::string_view family = "affine";

  /// "b4g64".
  std::string name() const;
  friend bool operator==(const Scheme&, const Scheme&) = default;
};

/// Parses "b4g64", of any family. Throws Error(usage) naming the known schemes for anything else.
Scheme parse_scheme(std::string_view name);

/// The names of the families of schemes: "affine" first.
const std::vector<std::string_view>& scheme_families();

/// What a family's name stands for in a list of schemes: of affine wide_schemes(), of others all that they have. Throws
/// Error(usage) naming the families for anything else.
const std::vector<Scheme>& family_schemes(std::string_view family);

/// The 12 schemes of the paper's Table 1: bits {2,3,4,8} x group {32,64,128}, in that order.
const std::vector<Scheme>& paper_schemes();

/// With 5 and 6 bits: {2,3,4,5,6,8} x {32,64,128}. What mxq chooses from where nobody says otherwise, with the Gaussian
/// ones where rows are rotated.
const std::vector<Scheme>& wide_schemes();

/// With groups of 16 and 256: {2,3,4,5,6,8} x {16,32,64,128,256}.
const std::vector<Scheme>& all_schemes();

/// A comma list of "wide", "paper", "all", families and schemes, each scheme once, in the order in which they are
/// named. Throws Error(usage) saying what may be in it for anything else.
std::vector<Scheme> parse_schemes(std::string_view list);

/// How codes, scale and zero are found.
enum class Fit {
  rtn,   // the group's minimum and maximum
  hqq,   // half-quadratic refinement of the zero (Badri & Shaji 2023)
  mse,   // least squared error, against the metadata as stored
  gptq,  // least error of the matrix's outputs on calibration text (mxq/calibration.h), by error feedback
  awq,   // rtn of channels scaled and weights clipped for least error of the outputs on calibration text
};
std::string_view fit_name(Fit fit);
Fit parse_fit(std::string_view name);

/// Whether the fit finds the codes of such schemes: where not, their family has a way of its own, which takes no notice
/// of it (error feedback onto nf4, say).
bool fit_applies(const Scheme& scheme, Fit fit);

/// How scale and zero are stored.
enum class Metadata {
  q8,         // 8 bits each, one fp16 step each per 128 groups: Eq. 2 of the paper
  f16,        // fp16 each: what HQQ files hold
  f32,        // fp32 each: equals the arithmetic of the hqq package
  f16_bias,   // fp16 each, the zero as what is added, W = code * scale + bias: what MLX files hold
  bf16_bias,  // the same in bf16
};
/// Of the last two.
constexpr bool has_bias(Metadata metadata) {
  return metadata == Metadata::f16_bias || metadata == Metadata::bf16_bias;
}
std::string_view metadata_name(Metadata metadata);
Metadata parse_metadata(std::string_view name);

/// What is done to a matrix before it is quantized.
enum class Normalize {
  none,
  columns,   // columns are divided by scales t found from the weights alone, and multiplied back when it is read
  rotation,  // columns, and then each row is rotated, which is undone when it is read: no weight stands out any more
  sinq,      // columns are divided by the scales that SINQ (arXiv 2509.22944) finds for the scheme's group size
};
std::string_view normalize_name(Normalize normalize);
Normalize parse_normalize(std::string_view name);

/// Groups that share the fp16 steps of Metadata::q8 (g2 of the paper).
inline constexpr int64_t kGroupsPerStep = 128;

/// The order in which Fit::gptq codes columns.
enum class ColumnOrder {
  left,      // from left to right
  diagonal,  // by falling second moment, groups together: GPTQ's act-order, with groups that stay where they are
};
std::string_view column_order_name(ColumnOrder order);
ColumnOrder parse_column_order(std::string_view name);

/// How Fit::gptq finds a group's scale and zero.
enum class ZeroPoint {
  real,       // both by least squares: mxq's own
  integer,    // the group's range, widened to hold 0, and a zero that is one of the codes: GPTQ as published
  symmetric,  // the zero always the upper middle code, the scale by the largest magnitude: the default of AutoGPTQ;
              // with a bias by least squares, of either sign: what compressed-tensors holds
};
std::string_view zero_point_name(ZeroPoint zero_point);
ZeroPoint parse_zero_point(std::string_view name);

/// How much each token counts in the second moments of the inputs of matrices.
enum class TokenWeighting {
  even,
  gradient,  // as much as what the model says of the text depends on the token at the layer: the norm of the gradient
             // of a score with respect to the residual stream behind it
};
std::string_view token_weighting_name(TokenWeighting weighting);
TokenWeighting parse_token_weighting(std::string_view name);

/// Of fits that know the second moments of a matrix's inputs.
struct FeedbackOptions {
  /// Share of the mean of the moments' diagonal that is added to it; more where they are not positive definite with it.
  double damping = 0.01;
  ColumnOrder order = ColumnOrder::left;
  ZeroPoint zero_point = ZeroPoint::real;
  TokenWeighting token_weights = TokenWeighting::even;
  /// Share by which correlations between inputs are taken for smaller than the text shows them; of Fit::gptq. 0 to 1.
  double shrinkage = 0;
  /// Share by which Fit::gptq makes up for what the matrices before have changed in a matrix's inputs. 0 to 1.
  double correction = 0;
  /// How often Fit::gptq codes all columns once more, each given all others.
  int sweeps = 0;
};

struct QuantizeOptions {
  Fit fit = Fit::mse;
  /// 1: a group is `group` neighbours along K in one row; the last group of a row may be short.
  /// 0: of G = ceil(rows*cols/group) groups, group j holds the elements j, j+G, j+2G, ... of the row-major matrix
  ///    (hqq's axis 0, and the paper's).
  int axis = 1;
  Metadata metadata = Metadata::q8;
  Normalize normalize = Normalize::none;
  FeedbackOptions feedback = {};
};

/// The options with which schemes are compared where `options` are those of a calibrated fit: its errors depend on
/// inputs, so tables hold what mse (of gptq) or rtn (of awq) loses, which is about in proportion.
QuantizeOptions tabled(const QuantizeOptions& options);

/// Number of groups of a rows x cols matrix.
int64_t group_count(const Scheme& scheme, int axis, int64_t rows, int64_t cols);

/// Bytes of the stored matrix: codes, scales, zeros, steps and, with column scales, 2 a column; exactly what
/// quantize_matrix fills.
/// With q8 this is Eq. 2, |W| (b1 + 16/g1 + 32/(128 g1)) bits, where the group divides the matrix; a short group has a
/// scale and a zero of its own, the last step may serve fewer groups, and codes are padded to whole words.
int64_t storage_bytes(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols);

/// Eq. 2's nominal bits per parameter for metadata q8, e.g. 3.2539 for b3g64.
double nominal_bits(const Scheme& scheme);

}  // namespace mxq
