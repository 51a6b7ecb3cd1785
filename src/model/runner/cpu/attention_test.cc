// Attention against its formula in double precision.
#include "model/runner/cpu/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "random_floats.h"

namespace mxq {
namespace {

constexpr unsigned kSeed = 9;

struct Case {
  AttentionShape shape;
  int64_t n, past;
  float cap = 0;
  std::vector<float> sinks = {};
};

class Attention : public testing::TestWithParam<Case> {
 protected:
  std::vector<float> random(int64_t n) { return normal_floats(random_, n); }

  std::mt19937 random_{kSeed};
};

/// Element (token, head, i) of softmax(cap(q k^T / sqrt(dim)), sink) v, over the keys that the token may see.
double expected(const Case& c, const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v,
                int64_t token, int64_t head, int64_t i) {
  const int64_t dim = c.shape.head_dim, position = c.past + token;
  const int64_t kv_head = head / (c.shape.heads / c.shape.kv_heads);
  const auto at = [&](int64_t key, int64_t j) {
    return static_cast<size_t>((key * c.shape.kv_heads + kv_head) * dim + j);
  };
  double total = c.sinks.empty() ? 0 : std::exp(double{c.sinks[static_cast<size_t>(head)]}), mixed = 0;
  for (int64_t key = 0; key <= position; ++key) {
    if (c.shape.window > 0 && key <= position - c.shape.window) continue;
    double score = 0;
    for (int64_t j = 0; j < dim; ++j) {
      score += double{q[static_cast<size_t>((token * c.shape.heads + head) * dim + j)]} * k[at(key, j)];
    }
    score /= std::sqrt(static_cast<double>(dim));
    if (c.cap > 0) score = c.cap * std::tanh(score / c.cap);
    const double weight = std::exp(score);
    total += weight;
    mixed += weight * v[at(key, i)];
  }
  return mixed / total;
}

TEST_P(Attention, EqualsTheFormula) {
  Case c = GetParam();
  c.shape.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(c.shape.head_dim)));
  c.shape.cap = c.cap;
  if (!c.sinks.empty()) c.shape.sinks = c.sinks.data();
  const int64_t dim = c.shape.head_dim, keys = c.past + c.n;
  const auto q = random(c.n * c.shape.heads * dim);
  const auto k = random(keys * c.shape.kv_heads * dim), v = random(keys * c.shape.kv_heads * dim);
  for (const Compute compute : {Compute::f32, Compute::bf16}) {
    if (compute == Compute::bf16 && !bf16_matmul_supported()) continue;
    // Rows as they lie in memory, and as a cache keeps them, those that are past token by token.
    std::vector<float> rows(q.size()), kept(q.size());
    HeadRows keys_kept, values_kept;
    const int64_t row = c.shape.kv_heads * dim;
    for (int64_t i = 0; i < keys; i += i < c.past ? 1 : c.n) {
      const int64_t added = i < c.past ? 1 : c.n;
      keys_kept.add(k.data() + i * row, added, c.shape.kv_heads, dim, compute);
      values_kept.add(v.data() + i * row, added, c.shape.kv_heads, dim, compute);
    }
    ASSERT_EQ(keys_kept.length(), keys);
    std::vector<AttentionInput> inputs(2, {.n = c.n, .past = c.past, .q = q.data()});
    inputs[0].keys = k.data(), inputs[0].values = v.data(), inputs[0].out = rows.data();
    inputs[1].kept_keys = &keys_kept, inputs[1].kept_values = &values_kept, inputs[1].out = kept.data();
    causal_attention(c.shape, compute, inputs);
    if (compute == Compute::f32) {
      EXPECT_EQ(rows, kept);
    }
    const double tolerance = compute == Compute::f32 ? 2e-6 : 4e-2;  // bf16 has 8 bits
    for (int64_t token = 0; token<c.n; token += c.n> 40 ? 13 : 1) {
      for (int64_t head = 0; head < c.shape.heads; ++head) {
        for (int64_t i = 0; i < dim; ++i) {
          const double right = expected(c, q, k, v, token, head, i);
          for (const auto* found : {&rows, &kept}) {
            ASSERT_NEAR((*found)[static_cast<size_t>((token * c.shape.heads + head) * dim + i)], right, tolerance)
                << "token " << token << ", head " << head << ", element " << i << ", seed " << kSeed
                << (compute == Compute::f32 ? ", f32" : ", bf16");
          }
        }
      }
    }
  }
}

// heads, KV heads, head size, window; tokens, tokens before them; soft cap; sinks
INSTANTIATE_TEST_SUITE_P(Cases, Attention,
                         testing::Values(Case{{1, 1, 2, 0}, 1, 0}, Case{{9, 3, 16, 0}, 40, 0},
                                         Case{{9, 3, 16, 0}, 1, 25}, Case{{4, 2, 8, 5}, 30, 0},
                                         Case{{4, 2, 8, 5}, 7, 30}, Case{{4, 1, 8, 64}, 20, 20},
                                         Case{{8, 8, 32, 0}, 500, 0}, Case{{7, 1, 16, 100}, 300, 150},
                                         Case{{9, 3, 16, 0}, 40, 5, 0.7f}, Case{{4, 2, 8, 5}, 30, 0, 2.0f},
                                         Case{{4, 2, 8, 0}, 40, 3, 0, {0.5f, -1, 3, 12}},
                                         Case{{4, 2, 8, 5}, 30, 7, 0, {0.5f, -30, 3, 100}},
                                         Case{{4, 2, 8, 5}, 1, 30, 0.7f, {0.5f, -1, 3, 0}}),
                         [](const auto& param) {
                           const Case& c = param.param;
                           return "heads" + std::to_string(c.shape.heads) + "of" + std::to_string(c.shape.kv_heads) +
                                  "dim" + std::to_string(c.shape.head_dim) + "window" + std::to_string(c.shape.window) +
                                  "n" + std::to_string(c.n) + "past" + std::to_string(c.past) +
                                  (c.cap > 0 ? "capped" : "") + (c.sinks.empty() ? "" : "withsinks");
                         });

}  // namespace
}  // namespace mxq
