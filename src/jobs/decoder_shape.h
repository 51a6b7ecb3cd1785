// The extents of a decoder, as counts of what running it takes.
#pragma once

#include <algorithm>

#include "model/config.h"

namespace mxq {

/// Doubles, which do not overflow. Where layers differ (mixtures of experts), per layer means those of an average one.
struct DecoderShape {
  explicit DecoderShape(const ModelConfig& config);

  double hidden, layers, words;
  double cached;      // numbers that are kept of a token: its keys and values, of all layers
  double text_cache;  // bytes that are kept of a text whatever its length
  bool tied;
  double layer = 0;      // weights that a token is multiplied with, per layer
  double all = 0;        // weights of all layers
  double inner = 0;      // gated activations of a token, per layer
  double heads = 0;      // activations of a token in attention, per layer
  double buffers = 0;    // those that a runner keeps, of all kinds of layers
  double queries = 0;    // numbers of a token that meet every key, per layer
  double state = 0;      // numbers of linear attention's state that a token changes, per layer
  double widest_in = 0;  // of what a matrix multiplies
  // Per layer. Of the inputs' second moments: entries that a token adds to, and those kept at a time, by error feedback
  // and by AWQ.
  double token_moments = 0, moments = 0, all_moments = 0;
  double cubes = 0;  // sums over matrices of (inputs)^3
  double coded = 0;  // of outputs x (inputs)^2

  double head() const { return hidden * words; }
  /// Weights that a layer holds, those of all its experts.
  double held() const { return all / std::max(1.0, layers); }
  /// Weights that a token is multiplied with.
  double multiplied() const { return layers * layer + head(); }
  double loaded() const { return all + (tied ? 1 : 2) * head(); }
  double largest() const;
  /// Activations of a token, per layer.
  double elements() const { return 4 * hidden + heads + 3 * inner; }
  /// Products of a token that do not depend on weights, per layer: with all keys and values, or with a state.
  double attention(double length) const { return 2 * length * queries + 3 * state; }
  /// Bytes kept of a text of so many tokens, with numbers of so many bytes.
  double cache(double tokens, double number) const { return tokens * cached * number + text_cache; }
};

}  // namespace mxq
