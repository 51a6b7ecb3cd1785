// What a decoder does to rows of activations between its matrix products.
#pragma once

#include <cstdint>

namespace mxq {

/// out = x / sqrt(mean(x^2) + eps) * weight. x and out may be the same.
void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out);

/// row = exp(row - max) / sum of that. n >= 1.
void softmax(float* row, int64_t n);

/// log(sum(exp(row))), n >= 1. NaN if the row holds one.
float log_sum_exp(const float* row, int64_t n);

/// gate = gate / (1 + exp(-gate)) * up.
void silu_multiply(float* gate, const float* up, int64_t n);

/// bf16 (the upper 16 bits of a float), rounded to nearest even; NaN stays NaN.
void to_bf16(const float* x, int64_t n, uint16_t* out);

namespace ref {
void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out);
void softmax(float* row, int64_t n);
float log_sum_exp(const float* row, int64_t n);
void silu_multiply(float* gate, const float* up, int64_t n);
void to_bf16(const float* x, int64_t n, uint16_t* out);
}  // namespace ref

}  // namespace mxq
