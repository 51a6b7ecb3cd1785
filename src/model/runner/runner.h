// What executes a model's layers on a device. Nothing outside of src/model/runner/ knows more of a device than this:
// steps are coarse, so that what lies between them may stay wherever the device keeps it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/arch/architecture.h"
#include "model/layer_tensors.h"
#include "model/model_source.h"
#include "mxq/progress.h"
#include "mxq/run_options.h"

namespace mxq {

/// What a runner remembers of a sequence, so that it can be continued. Belongs to the runner that made it.
class KvCache {
 public:
  virtual ~KvCache() = default;

  /// Tokens in it.
  int64_t length() const { return length_; }

 protected:
  int64_t length_ = 0;
};

/// The next tokens of a sequence. With a cache they follow what is in it and are added to it; without one they begin
/// at position 0 and are forgotten.
struct Sequence {
  std::span<const int32_t> ids;
  KvCache* cache = nullptr;
};

/// The mean of w x x^T over rows x, w being what each counts (MomentsTap), and of |x|; 0 where there is no row.
struct SecondMoments {
  int64_t width = 0, rows = 0;
  /// [width, width], row-major; the upper triangle, the rest is not for use.
  std::vector<float> values;
  /// [width].
  std::vector<float> mean_magnitudes;
  /// [width, width]: the mean of w y x^T, y being what another run multiplied (MomentsTap::beside); empty where there
  /// is none.
  std::vector<float> cross;
};

/// What the matrices of a layer multiplied in one run of it, wherever the device keeps it.
class KeptInputs {
 public:
  virtual ~KeptInputs() = default;
};

/// Is told of an input before it is multiplied, and may replace the matrices that will. `pooled`: of an expert's input,
/// the moments of what all experts of the layer could be given (routed) or are (routed_gated); null for all others.
using MomentsObserver = std::function<void(int64_t layer, const InputPlace& place, const SecondMoments& moments,
                                           const SecondMoments* pooled)>;

/// Who is told of second moments, and how much each token counts in them.
struct MomentsTap {
  MomentsObserver observe;
  /// One a token of all sequences, 0 or more; empty: 1 each. Mean magnitudes take no notice of them.
  std::span<const float> weights;
  /// Another run of the same tokens through the same layer: moments have what is between both (SecondMoments::cross),
  /// but for inputs of experts, which other tokens may have gone to.
  const KeptInputs* beside = nullptr;

  explicit operator bool() const { return static_cast<bool>(observe); }
};

/// What matrices of a layer multiply.
struct InputRows {
  std::span<const float> values;    // [rows, in_features]
  std::span<const int32_t> tokens;  // of an expert's: whose each row is, ascending; empty: row t is token t's
};
/// By place; those of an expert that no token goes to are empty. The rows are there as long as the observer runs.
using LayerRows = std::function<InputRows(const InputPlace& place)>;
using RowsObserver = std::function<void(const LayerRows& rows)>;

/// Is shown the gradient with respect to what a module's matrix ("self_attn.q_proj") put out: [rows, out_features], a
/// row for each that the matrix multiplied, which its bias, norm and rotation follow. Routers are not shown, nor are
/// experts that no token goes to.
using GradientObserver = std::function<void(std::string_view module, const float* gradient)>;

/// [out, in].
struct MatrixShape {
  int64_t out = 0, in = 0;
};

/// Other weights of a matrix, ready to take its place; not to outlive the runner.
class Replacement {
 public:
  virtual ~Replacement() = default;

  /// Exchanges the two: the first call puts the other weights in place, the second undoes that.
  virtual void swap() = 0;
};

/// The replacement is in place as long as this is.
class During {
 public:
  explicit During(Replacement& replacement) : replacement_(replacement) { replacement_.swap(); }
  ~During() { replacement_.swap(); }
  During(const During&) = delete;
  During& operator=(const During&) = delete;

 private:
  Replacement& replacement_;
};

/// What becomes of the products of the output matrix: cap * tanh(scale * x / cap).
struct LogitShape {
  double scale = 1, cap = 0;  // no cap: 0

  bool is_plain() const { return scale == 1 && cap == 0; }
  /// What a logit of that value changes by with its product.
  float slope(float logit) const {
    const double bent = cap > 0 ? logit / cap : 0;
    return static_cast<float>(scale * (1 - bent * bent));
  }
};

/// What every runner says of its model.
struct RunnerFacts {
  ModelConfig config;  // of one of architectures()
  /// What a KvCache takes for a token, and for a text whatever its length.
  int64_t cache_bytes_per_token = 0, cache_bytes_per_text = 0;
  Compute compute = Compute::f32;
};

/// A model, loaded. Rows of numbers go in and come out as fp32, a row a token, those of all sequences one after
/// another. Matrices are known by name: "model.layers.0.self_attn.q_proj". The same input gives the same numbers,
/// whatever the number of threads. Not thread-safe.
class Runner {
 public:
  virtual ~Runner() = default;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  const ModelConfig& config() const { return facts_.config; }
  const Architecture& architecture() const { return *architecture_; }
  int64_t vocab_size() const { return config().vocab_size; }
  int64_t hidden_size() const { return config().hidden_size; }
  int64_t layers() const { return config().num_hidden_layers; }
  /// The longest sequence that the model was made for; 0: unknown.
  int64_t max_positions() const { return config().max_position_embeddings; }
  /// Of a text of so many tokens.
  int64_t cache_bytes(int64_t tokens) const {
    return tokens * facts_.cache_bytes_per_token + facts_.cache_bytes_per_text;
  }
  Compute compute() const { return facts_.compute; }
  /// The name of the matrix that the logits are made with: kHead, or kEmbedding where the two are one.
  std::string_view head() const { return config().tie_word_embeddings ? kEmbedding : kHead; }
  LogitShape logit_shape() const { return {config().logit_scale, config().logit_cap}; }
  /// Bytes of matrices that stay in memory.
  virtual int64_t resident_bytes() const = 0;

  /// An empty one; hidden() makes it longer.
  virtual std::unique_ptr<KvCache> make_cache() const = 0;
  /// The last hidden states of all sequences, after the final norm: [sum of ids, hidden_size].
  /// Throws Error(usage) for an id outside the vocabulary, Error(not_finite) naming the first layer whose output is NaN
  /// or infinite; the caches are unusable then.
  virtual std::vector<float> hidden(std::span<const Sequence> sequences) = 0;
  /// Of one sequence without cache.
  std::vector<float> hidden(std::span<const int32_t> ids);
  /// Logits of `n` hidden states: [n, vocab_size].
  virtual void logits(const float* hidden, int64_t n, float* out) const = 0;

  /// The parts of hidden(), for those who look between the layers; without caches. The residual stream,
  /// [sum of ids, hidden_size], as it enters layer 0; layers [first, last) applied to it; the last hidden states of it.
  /// Errors as above.
  virtual std::vector<float> embed(std::span<const Sequence> sequences) = 0;
  virtual void run_layers(std::span<const Sequence> sequences, int64_t first, int64_t last,
                          std::vector<float>& residual, const MomentsTap& tap = {}) = 0;
  /// One layer applied to it, by the model's own weights; what its matrices multiply is kept.
  virtual std::unique_ptr<KeptInputs> run_and_keep(std::span<const Sequence> sequences, int64_t layer,
                                                   std::vector<float>& residual) = 0;
  virtual std::vector<float> last_norm(std::span<const Sequence> sequences, std::span<const float> residual) = 0;
  /// The moments of what the output matrix multiplies: of last_norm().
  virtual SecondMoments head_moments(std::span<const Sequence> sequences, std::span<const float> residual) = 0;

  /// The gradient with respect to `residual` of a scalar whose gradient with respect to last_norm() of it is `outer`.
  virtual std::vector<float> last_norm_gradient(std::span<const float> residual,
                                                std::span<const float> outer) const = 0;
  /// One layer from its end to its beginning, by the model's own weights. The layer is run again from
  /// `residual`, as it entered it, and `look` is shown what its matrices multiply. Then each of `gradients`
  /// [tokens, hidden_size], of some scalar with respect to the residual stream behind the layer, becomes that with
  /// respect to the one before it; `observe` sees it on its way, and `done` hears of each. Observers may be empty.
  /// Without caches; errors as above.
  virtual void run_back(std::span<const Sequence> sequences, int64_t layer, std::vector<float> residual,
                        std::span<std::vector<float>> gradients, const RowsObserver& look,
                        const GradientObserver& observe, const std::function<void()>& done = {}) = 0;

  /// nullopt where the model runs without a matrix of that name. All below throw Error(usage) there.
  virtual std::optional<MatrixShape> find_matrix(const std::string& name) const = 0;
  /// The weights, [out, in]: where they lie, or, where they are not held as floats, read into `room`. Not of a matrix
  /// that another stands in for.
  virtual std::span<const float> weights(const std::string& name, std::vector<float>& room) const = 0;
  /// `weights` [out, in]; a bias stays as it is. Throws Error(usage) for another number of them.
  virtual std::unique_ptr<Replacement> make_replacement(const std::string& name, std::vector<float> weights) = 0;

 protected:
  explicit Runner(RunnerFacts facts)
      : facts_(std::move(facts)), architecture_(find_architecture(facts_.config.architecture)) {}

 private:
  RunnerFacts facts_;
  const Architecture* architecture_;
};

/// On the device that the options name. `model` must outlive it. Throws Error(unsupported) for a device that mxq does
/// not know, naming those it does, and for a model, a field of its configuration or a compute that the device cannot
/// run; Error(invalid_file) for tensors that are missing or have another shape than the config says. Progress: phase
/// "load" in weights.
std::unique_ptr<Runner> make_runner(const ModelSource& model, const RunOptions& options = {},
                                    Progress* progress = nullptr);

}  // namespace mxq
