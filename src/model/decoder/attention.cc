#include "model/decoder/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "kernels/matmul.h"
#include "kernels/rows.h"

namespace mxq {

namespace {
constexpr int64_t kBlock = 64;  // queries at a time: their scores against 1,024 keys stay in the cache
}

void causal_attention(const AttentionShape& shape, int64_t n, const float* q, const float* k, const float* v,
                      float* out) {
  const int64_t dim = shape.head_dim, q_row = shape.heads * dim, kv_row = shape.kv_heads * dim;
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(dim)));
  parallel_for(shape.heads * blocks, [&](int64_t job) {
    const int64_t head = job % shape.heads, first = job / shape.heads * kBlock;
    const int64_t rows = std::min(kBlock, n - first), last = first + rows;
    const int64_t from = shape.window > 0 ? std::max<int64_t>(0, first - shape.window + 1) : 0;  // first key seen
    const int64_t keys = last - from;
    const int64_t kv = from * kv_row + head / (shape.heads / shape.kv_heads) * dim;
    std::vector<float> scores(static_cast<size_t>(rows * keys));
    matmul_transposed(rows, keys, dim, scale, q + first * q_row + head * dim, q_row, k + kv, kv_row, scores.data(),
                      keys);
    for (int64_t r = 0; r < rows; ++r) {
      float* row = scores.data() + r * keys;
      const int64_t token = first + r;
      const int64_t begin = shape.window > 0 ? std::max<int64_t>(0, token - shape.window + 1) - from : 0;
      const int64_t end = token - from + 1;
      std::fill(row, row + begin, 0.0f);
      softmax(row + begin, end - begin);
      std::fill(row + end, row + keys, 0.0f);
    }
    matmul(rows, dim, keys, scores.data(), keys, v + kv, kv_row, out + first * q_row + head * dim, q_row);
  });
}

}  // namespace mxq
