#include "jobs/decoder_shape.h"

#include <algorithm>

namespace mxq {

namespace {

double square(double x) {
  return x * x;
}
double cube(double x) {
  return x * x * x;
}

}  // namespace

DecoderShape::DecoderShape(const ModelConfig& c)
    : hidden(static_cast<double>(c.hidden_size)),
      queries(static_cast<double>(c.num_attention_heads) * static_cast<double>(c.head_dim)),
      keys(static_cast<double>(c.num_key_value_heads) * static_cast<double>(c.head_dim)),
      layers(static_cast<double>(c.num_hidden_layers)),
      words(static_cast<double>(c.vocab_size)),
      tied(c.tie_word_embeddings) {
  const Mixture& mixture = c.mixture;
  const auto experts = static_cast<double>(mixture.experts), picked = static_cast<double>(mixture.per_token),
             expert = static_cast<double>(mixture.intermediate_size),
             shared = static_cast<double>(mixture.shared_intermediate_size),
             dense = static_cast<double>(c.intermediate_size);
  widest_in = std::max(hidden, queries);
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const double attention = 2 * hidden * (queries + keys);
    const double of_attention = square(hidden) + square(queries);
    const bool mixed = c.has_experts(i);
    const double beside = mixed ? shared : dense;  // the network that all tokens go through
    const double one = mixed ? picked : 0, many = mixed ? experts : 0;
    layer += attention + 3 * hidden * (beside + one * expert) + many * hidden;
    all += attention + 3 * hidden * (beside + many * expert) + many * hidden;
    inner += beside + one * expert;
    token_moments += of_attention + square(hidden) + square(beside) + one * (square(hidden) + 2 * square(expert));
    moments += of_attention + square(hidden) + square(beside) + (mixed ? 2 * square(expert) : 0);
    all_moments += of_attention + square(hidden) + square(beside) + many * (square(hidden) + square(expert));
    cubes += 3 * cube(hidden) + cube(queries) + (beside > 0 ? 2 * cube(hidden) + cube(beside) : 0) +
             many * (2 * cube(hidden) + cube(expert));
    coded += square(hidden) * (queries + 2 * keys + 2 * beside) + square(queries) * hidden + square(beside) * hidden +
             many * (2 * square(hidden) * expert + square(expert) * hidden);
    widest_in = std::max({widest_in, beside, mixed ? expert : 0});
  }
  for (double* total : {&layer, &inner, &token_moments, &moments, &all_moments, &cubes, &coded}) *total /= layers;
}

double DecoderShape::largest() const {
  return hidden * std::max(words, widest_in);
}

double DecoderShape::cache() const {
  return layers * 2 * keys * static_cast<double>(sizeof(float));
}

}  // namespace mxq
