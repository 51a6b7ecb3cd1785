// Gradients of what a layer computes.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "model/runner/cpu/cpu_runner.h"
#include "model/runner/cpu/gated_slopes.h"

namespace mxq {

/// One layer, from its end to its beginning, as often as there are gradients, by the model's own weights. Products with
/// them are of what the runner computes in; all else is fp32.
class LayerBackward {
 public:
  /// `tape`: what CpuRunner left of `sequences`, which have no caches and are the last that it ran. Both and the runner
  /// must outlive it.
  LayerBackward(const CpuRunner& runner, int64_t layer, std::span<const Sequence> sequences, const LayerTape& tape);

  /// `gradient` [tokens, hidden_size], of some scalar with respect to the residual stream behind the layer, becomes
  /// that with respect to the one before it.
  void run(std::vector<float>& gradient, const GradientObserver& observe) const;

 private:
  /// d_q, d_k, d_v of the gradient with respect to what attention put out; d_q and d_k before rotation and norm.
  void attention(const std::vector<float>& outer, std::vector<float>& d_q, std::vector<float>& d_k,
                 std::vector<float>& d_v) const;
  void unrotate(const std::vector<float>& plain, const std::vector<float>& norm, int64_t heads,
                std::vector<float>& gradient) const;
  /// gradient [rows, out] W: with respect to what the matrix multiplied.
  std::vector<float> through(LayerPart part, const std::vector<float>& gradient, int64_t expert = 0) const;
  /// Added to `gradient`; an empty weight is no norm.
  void through_norm(const std::vector<float>& x, const std::vector<float>& weight, const std::vector<float>& outer,
                    std::vector<float>& gradient) const;
  /// Of what half a layer adds to the residual stream, with respect to what its last matrix put out.
  std::vector<float> through_finish(const std::vector<float>& plain, const std::vector<float>& weight,
                                    std::vector<float> gradient) const;
  /// With respect to what the matrices of each half read.
  std::vector<float> feed_forward(const std::vector<float>& gradient, const GradientObserver& observe) const;
  /// The halves of it: the network that all tokens go through, and the experts. Of what each puts out.
  std::vector<float> gated_network(std::vector<float> outer, const GradientObserver& observe) const;
  std::vector<float> mixture(const std::vector<float>& outer, const GradientObserver& observe) const;
  std::vector<float> attend(const std::vector<float>& gradient, const GradientObserver& observe) const;
  /// The same of the gradient with respect to what the heads' matrix multiplied.
  std::vector<float> attention_heads(std::vector<float> outer, const GradientObserver& observe) const;
  std::vector<float> linear_heads(const std::vector<float>& outer, const GradientObserver& observe) const;
  FusedPart<const float> all_of(const std::vector<float>& rows) const;
  /// Of a matrix that stands for several, by the gradients with respect to what each of them put out.
  std::vector<float> through_fused(LayerPart part, int64_t groups, std::span<const FusedPart<const float>> parts,
                                   const GradientObserver& observe) const;
  std::vector<float> shown_through(LayerPart part, const std::vector<float>& outer,
                                   const GradientObserver& observe) const;
  void show(const GradientObserver& observe, LayerPart part, const std::vector<float>& outer, int64_t expert = 0) const;

  const CpuRunner& runner_;
  int64_t index_;
  const CpuRunner::Layer& layer_;
  const LayerTape& tape_;
  int64_t tokens_ = 0;
  std::vector<int64_t> lengths_;
  /// Of a matrix, [out, in], as products take them.
  struct Weights {
    Weights(const Linear& matrix, Compute compute);

    const Linear* linear;
    std::vector<float> room;
    const float* f32 = nullptr;  // where they lie, or room; null where products are of bf16
    Operand bf16;                // empty where they are not
  };
  std::map<std::pair<LayerPart, int64_t>, Weights> weights_;  // by part and expert
  GatedSlopes slopes_;
  std::vector<GatedSlopes> expert_slopes_;
};

}  // namespace mxq
