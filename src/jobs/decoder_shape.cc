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

/// What a layer does between its input's norm and what it adds.
struct Kind {
  double in, projections;  // rows of the matrices that read the norm; how many they are
  double out;              // columns of the one behind them
  double rows;             // activations of a token
  double queries, state;   // as in DecoderShape
};

Kind attention_of(const ModelConfig& c) {
  const auto queries = static_cast<double>(c.extent(Extent::queries)),
             keys = static_cast<double>(c.extent(Extent::keys));
  const Architecture* const architecture = find_architecture(c.architecture);
  const double gates = architecture != nullptr && architecture->gated_queries ? queries : 0;
  return {queries + gates + 2 * keys, 3, queries, 2 * queries + gates + 2 * keys, queries, 0};
}

Kind linear_of(const ModelConfig& c) {
  const auto qkvz = static_cast<double>(c.extent(Extent::linear_qkvz)),
             rates = static_cast<double>(c.extent(Extent::linear_rates)),
             channels = static_cast<double>(c.extent(Extent::linear_channels)),
             values = static_cast<double>(c.extent(Extent::linear_values));
  return {qkvz + rates, 2, values, 3 * (channels + values), 0, static_cast<double>(c.linear.key_dim) * values};
}

}  // namespace

DecoderShape::DecoderShape(const ModelConfig& c)
    : hidden(static_cast<double>(c.hidden_size)),
      layers(static_cast<double>(c.num_hidden_layers)),
      words(static_cast<double>(c.vocab_size)),
      text_cache(static_cast<double>(linear_state_bytes(c))),
      tied(c.tie_word_embeddings) {
  const Mixture& mixture = c.mixture;
  const auto experts = static_cast<double>(mixture.experts), picked = static_cast<double>(mixture.per_token),
             expert = static_cast<double>(mixture.intermediate_size),
             shared = static_cast<double>(mixture.shared_intermediate_size),
             dense = static_cast<double>(c.intermediate_size);
  const Kind attention = attention_of(c), linear = linear_of(c);
  cached = static_cast<double>(c.attention_layers()) * 2 * static_cast<double>(c.extent(Extent::keys));
  buffers = attention.rows + (c.linear_layers() > 0 ? linear.rows : 0);
  widest_in = hidden;
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const Kind& kind = c.is_linear(i) ? linear : attention;
    const double of_attention = square(hidden) + square(kind.out);
    const double weights = hidden * (kind.in + kind.out);
    heads += kind.rows;
    queries += kind.queries;
    state += kind.state;
    const bool mixed = c.has_experts(i);
    const double beside = mixed ? shared : dense;  // the network that all tokens go through
    const double one = mixed ? picked : 0, many = mixed ? experts : 0;
    layer += weights + 3 * hidden * (beside + one * expert) + many * hidden;
    all += weights + 3 * hidden * (beside + many * expert) + many * hidden;
    inner += beside + one * expert;
    token_moments += of_attention + square(hidden) + square(beside) + one * (square(hidden) + 2 * square(expert));
    moments += of_attention + square(hidden) + square(beside) + (mixed ? 2 * square(expert) : 0);
    all_moments += of_attention + square(hidden) + square(beside) + many * (square(hidden) + square(expert));
    cubes += kind.projections * cube(hidden) + cube(kind.out) + (beside > 0 ? 2 * cube(hidden) + cube(beside) : 0) +
             many * (2 * cube(hidden) + cube(expert));
    coded += square(hidden) * (kind.in + 2 * beside) + square(kind.out) * hidden + square(beside) * hidden +
             many * (2 * square(hidden) * expert + square(expert) * hidden);
    widest_in = std::max({widest_in, kind.out, beside, mixed ? expert : 0});
  }
  for (double* total :
       {&layer, &inner, &heads, &queries, &state, &token_moments, &moments, &all_moments, &cubes, &coded}) {
    *total /= layers;
  }
}

double DecoderShape::largest() const {
  return hidden * std::max(words, widest_in);
}

}  // namespace mxq
