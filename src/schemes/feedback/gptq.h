// GPTQ: the codes of a matrix chosen so that its *outputs* stay, given the second moments of its inputs
// (Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
// arXiv 2210.17323). Storage is that of the scheme, of any family that takes feedback: dequantize_matrix reads the
// result.
#pragma once

#include <span>

#include "mxq/quantized_matrix.h"
#include "schemes/feedback/factor.h"

namespace mxq {

/// Quantizes a matrix W whose inputs x have the second moments H: [cols, cols], row-major, symmetric (the upper
/// triangle is what counts), mean or sum of x x^T. options.axis must be 1, options.fit Fit::gptq or Fit::mse, of
/// which the factor makes what they are (GptqOptions::feedback); all metadata. With column scales t, W / t is coded for
/// the inputs t x. Columns whose diagonal is 0 neither give nor take feedback.
/// Deterministic whatever the thread count. Throws Error(usage)
/// where second_moments has not cols * cols entries, Error(not_finite) for NaN or infinity in either argument and for
/// second moments that no damping makes positive definite, Error(unsupported) as quantize_matrix does and for other
/// axes, fits and families.
QuantizedMatrix quantize_matrix_gptq(MatrixView matrix, std::span<const float> second_moments, const Scheme& scheme,
                                     const QuantizeOptions& options, const GptqOptions& gptq = {});

/// The same with second moments that have been factored: once for all matrices with the same inputs. `damping`, where
/// it is not null, is set to what the factor has, or to what more a rotated one took. Throws Error(usage) where the
/// factor is for another number of columns.
QuantizedMatrix quantize_matrix_gptq(MatrixView matrix, const FeedbackFactor& factor, const Scheme& scheme,
                                     const QuantizeOptions& options, double* damping = nullptr);

/// tr((W - Q) H (W - Q)^T) with H = second_moments as they are given: what the matrix's outputs lose, as sum or mean of
/// squares like H. Products in fp32, sums in fp64. Throws Error(usage) for shapes that differ.
double output_error(MatrixView matrix, const QuantizedView& quantized, std::span<const float> second_moments);

}  // namespace mxq
