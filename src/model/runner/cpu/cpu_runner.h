// The runner on the processor.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/rows.h"
#include "model/config.h"
#include "model/runner/cpu/attention.h"
#include "model/runner/cpu/fused_rows.h"
#include "model/runner/cpu/linear.h"
#include "model/runner/cpu/linear_attention.h"
#include "model/runner/cpu/operand.h"
#include "model/runner/cpu/rope_tables.h"
#include "model/runner/cpu/routing.h"
#include "model/runner/cpu/row_norm.h"
#include "model/runner/runner.h"

namespace mxq {

/// What an expert made of its rows.
struct ExpertTape {
  std::vector<float> input, gate, up;
  std::vector<float> gated;  // what its down multiplies
  std::vector<float> out;    // before its share of the whole
};

/// What a layer made of the residual stream on its way through, as a backward pass needs it: a row a token.
struct LayerTape {
  std::vector<float> residual;            // as it entered
  std::vector<float> attention_input;     // normed: what q, k and v multiply
  std::vector<float> plain_q, plain_k;    // before the norms of heads; empty where the layer has none
  std::vector<float> q, k, v;             // q and k rotated
  std::vector<float> head_gates;          // of what heads put out; empty where the layer has none
  std::vector<float> attended;            // what the heads put out before their gates; empty likewise
  LinearRows linear;                      // of linear attention, in the place of these from q on
  std::vector<float> heads;               // what o multiplies
  std::vector<float> plain_attention;     // what o put out, before its norm; empty where the layer has none
  std::vector<float> middle;              // the residual stream between attention and feed-forward network
  std::vector<float> feed_forward_input;  // normed: what gate and up multiply
  std::vector<float> gate, up;
  std::vector<float> gated;         // what down multiplies
  std::vector<float> plain_output;  // what down put out, before its norm; empty where the layer has none
  Routing routing;                  // these of a mixture
  std::vector<ExpertTape> experts;
  std::vector<float> shared;        // what down put out, before its share
  std::vector<float> shared_share;  // of each token; empty where all of it counts

  InputRows rows_of(const InputPlace& place) const;
};

/// Throws Error(not_finite): what `name` ("layer 3") puts out is none, or its squares are.
[[noreturn]] void refuse_not_finite(const std::string& name);

/// By place, but for those of experts.
class CpuKeptInputs final : public KeptInputs {
 public:
  std::map<LayerInput, Operand> rows;
};

/// Of the architectures in model/arch/: decoders of attention with grouped queries and gated feed-forward networks.
class CpuRunner final : public Runner {
 public:
  /// Throws what make_runner() says; Error(unsupported) for bf16 on a processor that has it not.
  CpuRunner(const ModelSource& model, const RunOptions& options, Progress* progress = nullptr);

  int64_t resident_bytes() const override;
  std::unique_ptr<KvCache> make_cache() const override;
  using Runner::hidden;
  std::vector<float> hidden(std::span<const Sequence> sequences) override;
  void logits(const float* hidden, int64_t n, float* out) const override;

  std::vector<float> embed(std::span<const Sequence> sequences) override;
  void run_layers(std::span<const Sequence> sequences, int64_t first, int64_t last, std::vector<float>& residual,
                  const MomentsTap& tap = {}) override;
  std::unique_ptr<KeptInputs> run_and_keep(std::span<const Sequence> sequences, int64_t layer,
                                           std::vector<float>& residual) override;
  std::vector<float> last_norm(std::span<const Sequence> sequences, std::span<const float> residual) override;
  SecondMoments head_moments(std::span<const Sequence> sequences, std::span<const float> residual) override;

  std::vector<float> last_norm_gradient(std::span<const float> residual, std::span<const float> outer) const override;
  void run_back(std::span<const Sequence> sequences, int64_t layer, std::vector<float> residual,
                std::span<std::vector<float>> gradients, const RowsObserver& look, const GradientObserver& observe,
                const std::function<void()>& done) override;

  std::optional<MatrixShape> find_matrix(const std::string& name) const override;
  std::span<const float> weights(const std::string& name, std::vector<float>& room) const override;
  std::unique_ptr<Replacement> make_replacement(const std::string& name, std::vector<float> weights) override;

 private:
  friend class LayerBackward;

  /// Gate, up and down.
  struct Expert {
    Linear gate, up, down;

    Linear& of(LayerPart part) {
      return part == LayerPart::expert_gate ? gate : part == LayerPart::expert_up ? up : down;
    }
  };

  struct Layer {
    std::array<std::vector<float>, kLayerParts> norms;  // and what else is no matrix; empty where the layer has none
    std::array<Linear, kLayerParts> matrices;
    std::vector<Expert> experts;
    std::optional<LinearLayer> linear;

    Linear& at(const NamedTensor& of) {
      const auto part = of.tensor->part;
      return of.tensor->of_expert() ? experts[static_cast<size_t>(of.expert)].of(part)
                                    : matrices[static_cast<size_t>(part)];
    }
    const Linear& at(const NamedTensor& of) const { return const_cast<Layer*>(this)->at(of); }
    const std::vector<float>& norm(LayerPart part) const { return norms[static_cast<size_t>(part)]; }
    const Linear& matrix(LayerPart part) const { return matrices[static_cast<size_t>(part)]; }
    bool has(LayerPart part) const { return matrix(part).out_features() > 0; }
  };

  /// Where a token stands, and the angles of its text.
  struct Place {
    const RopeTable *rope = nullptr, *window_rope = nullptr;  // the second of layers with a window
    int64_t position = 0;
  };

  CpuRunner(const ModelSource& model, const ModelConfig& config, const RunOptions& options, Progress& progress);

  /// Null where there is none.
  Linear* find(const std::string& name);
  const Linear* find(const std::string& name) const { return const_cast<CpuRunner*>(this)->find(name); }
  Linear& matrix(const std::string& name);
  const Linear& matrix(const std::string& name) const { return const_cast<CpuRunner*>(this)->matrix(name); }

  void start(std::span<const Sequence> sequences);
  std::vector<float> continued(std::span<const Sequence> sequences);
  // tape: where a layer leaves what it computes; null: nowhere.
  void attend(int64_t index, std::span<const Sequence> sequences, const MomentsTap& tap, LayerTape* tape);
  /// What the heads of a layer make of operand_.
  const std::vector<float>& attention(int64_t index, std::span<const Sequence> sequences, LayerTape* tape);
  const std::vector<float>& linear_attention(int64_t index, std::span<const Sequence> sequences, LayerTape* tape);
  void feed_forward(int64_t index, const MomentsTap& tap, LayerTape* tape);
  void gated_network(int64_t index, const MomentsTap& tap, LayerTape* tape);
  void mix(int64_t index, const MomentsTap& tap, const SecondMoments* pooled, LayerTape* tape);
  /// Tells the tap, and keep_, of operand_, which the matrices of that place multiply.
  void show(const MomentsTap& tap, int64_t index, LayerInput input);
  SecondMoments moments_of(const MomentsTap& tap, LayerInput input) const;
  void look_up();
  void run(std::span<const Sequence> sequences, int64_t first, int64_t last, const MomentsTap& tap = {},
           LayerTape* tape = nullptr);
  void run_between(std::span<const Sequence> sequences, int64_t first, int64_t last, std::vector<float>& residual,
                   const MomentsTap& tap, LayerTape* tape);
  /// An empty weight is no norm.
  void add_and_norm(const std::vector<float>& weight);
  /// `plain`: where delta_ is left as it was before its norm; null: nowhere.
  void finish(const std::vector<float>& norm, std::vector<float>* plain);
  void apply_split(const Linear& matrix, int64_t groups, std::span<const FusedPart<float>> parts);
  FusedPart<float> all_of(std::vector<float>& rows) const {
    const int64_t width = std::ssize(rows) / n_;
    return {rows.data(), width, width};
  }
  /// Null where the layer has no rotary embedding.
  const RopeTable* rope_of(int64_t layer, const Place& place) const;
  AttentionShape attention_shape(int64_t layer) const;
  /// Of rows: gate *= what the activation makes of it, times up.
  auto gate_multiply() const {
    return config().activation == Activation::clamped ? clamped_multiply
           : config().activation == Activation::gelu  ? gelu_multiply
                                                      : silu_multiply;
  }

  RopeTables rope_;
  std::optional<RopeTables> window_rope_;  // where it is another
  RowNorm row_norm_;
  Linear embedding_, head_;  // head_ unused where the embeddings are tied
  std::vector<Layer> layers_;
  std::vector<float> norm_;
  // Activations of the tokens at hand.
  int64_t n_ = 0;
  std::vector<int32_t> ids_;
  std::vector<Place> places_;
  bool pending_ = false;     // delta_ is still to be added to x_
  int64_t last_layer_ = -1;  // the last one that x_ and delta_ come from; -1: the embedding
  std::vector<float> x_, delta_, q_, k_, v_, attended_, gate_, up_;
  std::vector<float> head_gates_;
  LinearRows linear_;
  std::vector<float> fused_;   // of a matrix that stands for several
  std::vector<float> beside_;  // what attention adds, where the feed-forward network stands beside it
  std::vector<float> mixed_;   // what the experts add
  Operand operand_;
  CpuKeptInputs* keep_ = nullptr;  // where inputs of the layer that runs are left
};

}  // namespace mxq
