// What a decoder does to rows of activations between its matrix products.
#pragma once

#include <cstdint>

namespace mxq {

/// out = x / sqrt(mean(x^2) + eps) * weight; returns mean(x^2), which is not finite where an x is not, nor where the
/// sum of the squares is beyond fp32: finite values become 0 then, as in other programs. x and out may be the same.
float rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out);

/// gradient += that of rms_norm() with respect to x, by `outer`, the gradient with respect to what it put out.
void add_rms_norm_gradient(const float* x, const float* weight, float eps, const float* outer, int64_t n,
                           float* gradient);

/// out = x - mean(x). x and out may be the same.
void center(const float* x, int64_t n, float* out);

/// sum(x y), summed in fp32.
float dot(const float* x, const float* y, int64_t n);

/// row = exp(scale * (row - max)) / sum of that. n >= 1.
void softmax(float* row, float scale, int64_t n);

/// out = bf16(exp(scale * (row - max))), without the division by their sum in fp32, which is returned. n >= 1.
float softmax_bf16(const float* row, float scale, int64_t n, uint16_t* out);

/// log(sum(exp(row))), n >= 1. NaN if the row holds one, or +infinity; -infinity is a probability of 0.
float log_sum_exp(const float* row, int64_t n);

/// Two rows of logits compared. n >= 1.
struct RowDivergence {
  double kl = 0;                               // KL(softmax(base) || softmax(other)) in nats, never below 0
  double base_log_sum = 0, other_log_sum = 0;  // log(sum(exp(row)))
  int64_t base_top = 0, other_top = 0;         // the first of the largest
};
/// Exponentials in fp32, sums in fp64: kl is exactly 0 for equal rows, and good to about 3e-7. NaN if a row holds one,
/// or +infinity. -infinity is a probability of 0, as is what fp32 cannot tell from it: of the base it adds nothing; of
/// the other where the base's is more than 0 it makes kl infinite, as do distances from the largest that fp32 cannot
/// add up.
RowDivergence row_divergence(const float* base, const float* other, int64_t n);

/// gate = gate / (1 + exp(-gate)) * up.
void silu_multiply(float* gate, const float* up, int64_t n);

/// Of GELU by tanh: sqrt(2 / pi), and the cube's part.
inline constexpr double kGeluScale = 0.79788456080286536, kGeluCubic = 0.044715;

/// gate = gate / 2 * (1 + tanh(sqrt(2 / pi) * (gate + 0.044715 gate^3))) * up: GELU by its usual approximation
/// (Hendrycks and Gimpel 2016, arXiv 1606.08415).
void gelu_multiply(float* gate, const float* up, int64_t n);

/// Of gpt-oss's activation: what its sigmoid multiplies by, and where gate and up end.
inline constexpr double kClampedScale = 1.702, kClampedLimit = 7;

/// gate = g / (1 + exp(-1.702 g)) * (u + 1), g = min(gate, 7), u = up within -7 and 7.
void clamped_multiply(float* gate, const float* up, int64_t n);

/// row = cap * tanh(scale * row / cap).
void soft_cap(float* row, float scale, float cap, int64_t n);

/// x += y.
void add(float* x, const float* y, int64_t n);

/// The pairs (head[i], head[half + i]) turned by the angles whose cosines and sines are given, i < half.
void rotate_pairs(float* head, const float* cos, const float* sin, int64_t half);
/// The pairs (head[2i], head[2i + 1]) likewise.
void rotate_neighbours(float* head, const float* cos, const float* sin, int64_t half);

/// bf16 (the upper 16 bits of a float), rounded to nearest even; NaN stays NaN.
void to_bf16(const float* x, int64_t n, uint16_t* out);

namespace ref {
float rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out);
void add_rms_norm_gradient(const float* x, const float* weight, float eps, const float* outer, int64_t n,
                           float* gradient);
void center(const float* x, int64_t n, float* out);
float dot(const float* x, const float* y, int64_t n);
void softmax(float* row, float scale, int64_t n);
float softmax_bf16(const float* row, float scale, int64_t n, uint16_t* out);
float log_sum_exp(const float* row, int64_t n);
RowDivergence row_divergence(const float* base, const float* other, int64_t n);
void silu_multiply(float* gate, const float* up, int64_t n);
void gelu_multiply(float* gate, const float* up, int64_t n);
void clamped_multiply(float* gate, const float* up, int64_t n);
void soft_cap(float* row, float scale, float cap, int64_t n);
void add(float* x, const float* y, int64_t n);
void rotate_pairs(float* head, const float* cos, const float* sin, int64_t half);
void rotate_neighbours(float* head, const float* cos, const float* sin, int64_t half);
void to_bf16(const float* x, int64_t n, uint16_t* out);
}  // namespace ref

}  // namespace mxq
