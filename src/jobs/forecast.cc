// What a job will take: its work and its buffers, counted from the shapes of the model's matrices.
#include "mxq/forecast.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/saturate.h"
#include "export/target.h"
#include "jobs/decoder_shape.h"
#include "jobs/match_plan.h"
#include "model/model_state.h"
#include "model/model_tokenizer.h"
#include "model/select_matrices.h"
#include "mxq/error.h"
#include "mxq/plan_model.h"
#include "mxq/quantize_model.h"
#include "mxq/runtime.h"
#include "mxq/sensitivity.h"
#include "mxq/trials.h"

namespace mxq {

namespace {

constexpr double kF32 = 4, kHalf = 2;  // bytes of a value
constexpr double kMiB = 1 << 20;

// What is no product with a model's matrix, in operations of one, as measured on SmolLM2 (bench/forecast.py).
constexpr double kLoadWeight = 250;    // a weight read, converted and put where products find it
constexpr double kReadWeight = 120;    // read and looked at once
constexpr double kHashByte = 30;       // read and hashed
constexpr double kElement = 60;        // of activations: norms, rotations, SiLU, conversions
constexpr double kLogit = 40;          // a logit's exponential, and its share of sums
constexpr double kAttention = 2.5;     // an operation of attention, whose products are small
constexpr double kCacheReads = 2;      // a byte of keys and values, which lie in many small pieces
constexpr double kMoments = 1.3;       // an operation of second moments
constexpr double kFactor = 2.5;        // an operation of a triangular factor
constexpr double kCoding = 2.5;        // an operation of error feedback
constexpr double kFeedbackFits = 1.5;  // fits that coding a weight with feedback takes
constexpr double kBackward = 1.2;      // an operation of a gradient
constexpr double kAwqTries = 30;       // times that AWQ quantizes a matrix and multiplies it with moments
constexpr double kPacked = 1.5;        // products with weights that are unpacked on the way
constexpr double kCodeByte = 0.5;      // bytes of a quantized weight
constexpr double kDiskByte = 1e-9;     // seconds: of files that memory does not hold

/// Program, libraries and their threads.
constexpr double kProgram = 40 * kMiB;
/// Of a streamed model, beside its largest matrix: what is copied in pieces.
constexpr double kPieces = 24 * kMiB;
constexpr double kLogitBlock = 16 * kMiB;
/// Keys and values of texts that are sampled together: at most.
constexpr double kCaches = 1024 * kMiB;
/// Labels that gradients are drawn for: ProbeOptions::draws.
constexpr double kDraws = 8;
/// Of English in the vocabularies of current models.
constexpr int64_t kBytesPerToken = 4;
/// Bits of a weight that plans within a loss take, and plans that are tried on the way.
constexpr double kLossBits = 5;
constexpr int kTriedForLoss = 4;

/// A decoder's work, in seconds, and its buffers, in bytes.
class Decoding {
 public:
  Decoding(const DecoderShape& shape, const RunOptions& run, const MachineSpeed& speed, double stored)
      : shape_(shape),
        run_(run),
        products_(speed.of(run.compute)),
        operation_(speed.f32.operation()),
        read_byte_(speed.read_byte),
        stored_(stored) {}

  double operations(double count) const { return count * operation_; }

  double load() const { return run_.packed ? 0 : operations(kLoadWeight * shape_.loaded()); }
  /// Packed, a matrix leaves memory once it has been read, but for the embedding, whose rows are looked up.
  double loaded() const { return run_.packed ? std::min(stored_, kHalf * shape_.head()) : value() * shape_.loaded(); }
  /// While a model is loaded, its largest matrix is there twice.
  double loading() const { return run_.packed ? 8 * kMiB * kF32 : value() * shape_.largest(); }
  double value() const { return run_.compute == Compute::bf16 ? kHalf : kF32; }

  /// Tokens in texts of `length`, through all layers.
  double forward(double tokens, double length) const {
    const double rows = std::max(1.0, std::min(tokens, 1024.0));
    return tokens / rows * shape_.layers * shape_.layer * rows_seconds(rows) + tokens * token_extras(length) + pass();
  }
  /// The logits of tokens, and their likelihoods.
  double logits(double tokens) const {
    return tokens / 768 * shape_.head() * rows_seconds(768) + operations(kLogit * tokens * shape_.words);
  }
  /// `texts` of `tokens` each, a token of all `together` at a time: each reads all weights, and what each text has so
  /// far.
  double sample(double texts, double together, double tokens) const {
    const double weight = rows_seconds(together) + (run_.packed ? 0 : value() * read_byte_);
    return std::ceil(texts / together) * tokens * (shape_.multiplied() * weight + pass()) +
           texts * tokens * (token_extras(tokens) + operations(2 * kLogit * shape_.words)) +
           texts * tokens * shape_.cache(tokens / 2, value()) * kCacheReads * read_byte_;
  }
  double sampled_together(double texts, double tokens) const {
    return std::clamp(std::floor(kCaches / std::max(1.0, shape_.cache(tokens, value()))), 1.0, std::max(1.0, texts));
  }
  double caches(double together, double tokens) const {
    return 1.25 * together * shape_.cache(tokens, value()) + together * shape_.words * kF32;
  }
  /// What a decoder keeps for so many tokens at once, and the residual stream of who runs it.
  double activations(double tokens) const {
    return tokens * (kF32 * (2 * shape_.hidden + shape_.buffers + 2 * shape_.inner) + value() * shape_.widest_in +
                     kF32 * shape_.hidden);
  }

 private:
  /// All weights once from files that memory does not hold.
  double pass() const {
    if (!run_.packed) return 0;
    const int64_t memory = total_memory_bytes();
    return memory > 0 && stored_ > static_cast<double>(memory) ? stored_ * kDiskByte : 0;
  }
  /// A weight's, for so many rows.
  double rows_seconds(double rows) const {
    return products_.of(static_cast<int64_t>(rows)) * (run_.packed ? kPacked : 1);
  }
  /// What a token takes beside products with weights.
  double token_extras(double length) const {
    return operations(shape_.layers * (kElement * shape_.elements() + kAttention * shape_.attention(length)));
  }

  const DecoderShape& shape_;
  RunOptions run_;
  MachineSpeed::Products products_;
  double operation_, read_byte_, stored_;
};

/// The job's parts, each adding its time, and raising the most memory.
class Planner {
 public:
  /// `matrix_bytes`: what the quantized matrices will take; nullopt where that is not known yet.
  Planner(const Model& model, const std::vector<const SourceTensor*>& matrices, std::optional<int64_t> matrix_bytes,
          const Method& method, const MachineSpeed& speed)
      : model_(model), method_(method), speed_(speed) {
    for (const SourceTensor* tensor : matrices) {
      const auto size = static_cast<double>(tensor->elements());
      weights_ += size;
      largest_ = std::max(largest_, size);
      outside_ += tensor->matrix->in_layer() ? 0 : size;
    }
    const WeightBytes bytes = weight_bytes(model);
    stored_ = static_cast<double>(bytes.stored);
    all_weights_ = static_cast<double>(bytes.weights);
    const RestBytes rest = find_target(method.format).rest(model.state().source(), matrices);
    kept_ = 2 * static_cast<double>(rest.largest_groups);  // in the file, and as it is written
    checkpoint_ = rest.tensors + rest.headers + matrix_bytes.value_or(saturate<int64_t>(weights_ * kLossBits / 8));
    if (const auto& config = model.state().source().config()) shape_.emplace(*config);
    tokens_ = static_cast<double>(method.calibration.sequences * method.calibration.tokens);
    fit_ = speed.measured / std::max(1.0, static_cast<double>(method.schemes.size()));
  }

  const Forecast& total() const { return total_; }

  /// The errors of all schemes, and sensitivities.
  void measure() {
    take(weights_ * speed_.measured + operations(kHashByte * stored_ + kReadWeight * weights_), streamed(largest_));
    measured_kl_ = method_.objective == Objective::kl;
    if (measured_kl_) sensitivities();
  }

  /// Writes the checkpoints of so many plans.
  void quantize(int plans) {
    // What the sensitivities loaded and sampled is used again.
    if (calibrated() && !measured_kl_) load_and_sample();
    for (int i = 0; i < plans; ++i) write();
  }

  /// Trials: each checkpoint is scored beside the model, whose logits are kept.
  void compare(int plans, ScoredText text) {
    text.against = text.keeps_logits = true;
    for (int i = 0; i < plans; ++i) {
      Forecast one = forecast_evaluation(model_, model_, text, model_.state().run(), speed_);
      text.sampled_rows = 0;
      text.known_logits = true;
      total_ += one;
      if (i > 0) total_.seconds += decoding().load();  // again, for the next calibration
    }
  }

 private:
  void take(double seconds, double memory) {
    total_.seconds += seconds;
    total_.memory_bytes = std::max(total_.memory_bytes, saturate<int64_t>(memory));
  }
  bool calibrated() const { return method_.calibration.kind != CalibrationText::Kind::none; }
  Decoding decoding() const { return {*shape_, model_.state().run(), speed_, stored_}; }
  double operations(double count) const { return count * speed_.f32.operation(); }
  /// A matrix of so many weights as it is read, normalized and fitted.
  static double streamed(double largest) { return kProgram + kPieces + 1.5 * kF32 * largest; }

  void load_and_sample() {
    const Decoding decoding = this->decoding();
    const bool own = method_.calibration.kind == CalibrationText::Kind::self;
    const auto texts = static_cast<double>(own ? kProbeSequences + method_.calibration.sequences : 0);
    take(decoding.load(), kProgram + decoding.loaded() + decoding.loading());
    if (own) sample(texts, static_cast<double>(method_.calibration.tokens));
  }
  void sample(double texts, double tokens) {
    const Decoding decoding = this->decoding();
    const double together = decoding.sampled_together(texts, tokens);
    take(decoding.sample(texts, together, tokens), kProgram + decoding.loaded() + decoding.caches(together, tokens));
  }

  /// What tokens count, once for all calibrations of a job.
  void weigh_tokens() {
    if (weighed_ || method_.quantize.feedback.token_weights == TokenWeighting::even) return;
    weighed_ = true;
    const Decoding decoding = this->decoding();
    const DecoderShape& s = *shape_;
    const double operation = speed_.of(best_compute()).operation(), layers = s.layers * s.layer;
    const double seconds = 2 * decoding.forward(tokens_, static_cast<double>(method_.calibration.tokens)) +
                           decoding.logits(tokens_) + 2 * tokens_ * s.head() * speed_.f32.operation() +
                           kBackward * 2 * tokens_ * layers * operation;
    take(seconds, 0);  // the memory of a calibration is more
  }

  /// Second moments of all inputs, and matrices coded by them. `beside`: the model as it is runs along.
  void calibrate(double kept, bool beside) {
    weigh_tokens();
    const Decoding decoding = this->decoding();
    const DecoderShape& s = *shape_;
    const bool awq = method_.quantize.fit == Fit::awq, rotates = method_.quantize.normalize == Normalize::rotation;
    const double widths = s.layers * s.token_moments;
    double seconds = decoding.forward(tokens_, static_cast<double>(method_.calibration.tokens)) +
                     kMoments * tokens_ * widths * speed_.of(best_compute()).operation();
    if (awq) {
      seconds += kAwqTries * (operations(2 * s.layers * s.coded) + fit_ * (weights_ - outside_));
    } else {
      // A factor of each input, and where rows are rotated another of each matrix.
      const double cubes = s.layers * s.cubes;
      seconds += operations(kFactor * (cubes / 6 + (rotates ? 4.0 / 3 * cubes : 0)) + kCoding * s.layers * s.coded);
      seconds += kFeedbackFits * fit_ * (weights_ - outside_);
    }
    seconds += operations(2 * kReadWeight * weights_) + fit_ * outside_;
    double original = 0;
    if (beside && method_.quantize.feedback.correction > 0) {
      // Moments between both runs are twice as many; weights are multiplied by them and by H's inverse.
      seconds += decoding.forward(tokens_, static_cast<double>(method_.calibration.tokens)) +
                 2 * kMoments * tokens_ * widths * speed_.of(best_compute()).operation() +
                 operations(2 * kCoding * s.layers * s.coded);
      original = tokens_ * (kF32 * s.hidden + decoding.value() * (2 * s.hidden + s.queries + s.inner)) +
                 3 * s.widest_in * s.widest_in * kF32;
    }
    const double square = s.widest_in * s.widest_in * kF32;
    const double factors = std::max((awq ? s.all_moments : s.moments) * kF32 + 5 * square, 7 * square);
    // Of one layer the quantized matrices are there beside the original ones, and as they will be written.
    const double layer = (decoding.value() + kCodeByte) * s.held();
    take(seconds, kProgram + decoding.loaded() + decoding.activations(tokens_) + factors + 3 * kF32 * largest_ + layer +
                      kept + original);
  }

  void sensitivities() {
    const Decoding decoding = this->decoding();
    const DecoderShape& s = *shape_;
    const auto length = static_cast<double>(method_.sample.tokens);
    const double tokens = length * static_cast<double>(method_.sample.sequences);
    load_and_sample_for_both();
    const bool fitted = calibrated() && method_.quantize.fit != Fit::awq;
    const double probes = fitted && !model_.runs_packed() ? weights_ * 3.3 / 8 : 0;  // else they wait on the disk
    if (fitted) calibrate(probes, false);
    const double layer = s.layers * s.layer, operation = speed_.f32.operation();
    double seconds = 2 * decoding.forward(tokens, length) + decoding.logits(tokens);
    seconds += 2 * tokens * s.head() * operation;                    // means of rows
    seconds += 2 * tokens * layer * operation;                       // what probes change
    seconds += kBackward * kDraws * 2 * tokens * layer * operation;  // gradients
    seconds +=
        operations(kDraws * tokens * s.layers * (kElement * s.elements() + 3 * kAttention * s.attention(length)));
    if (outside_ > 0) seconds += 2 * decoding.forward(tokens, length) + 4 * decoding.logits(tokens);
    if (!fitted) seconds += fit_ * weights_;
    const double value = decoding.value();
    double memory = kProgram + decoding.loaded() + probes + decoding.activations(calibrated() ? tokens_ : tokens);
    memory += kF32 * tokens * ((s.layers + 1) * s.hidden + 2 * kDraws * s.hidden);  // residuals and gradients
    memory += kF32 * tokens * (2 * s.elements() + 3 * s.inner);                     // a layer's tape and the way back
    const bool as_floats = value < kF32 || model_.runs_packed();
    memory += kLogitBlock + (as_floats ? kF32 * (s.head() + s.held()) : 0);
    if (outside_ > 0) memory += (kF32 + value) * s.head();
    take(seconds, memory);
  }
  /// The text of probes is sampled with the calibration's where both are the model's own.
  void load_and_sample_for_both() {
    const bool together = method_.calibration.kind == CalibrationText::Kind::self;
    load_and_sample();
    if (!together) sample(static_cast<double>(method_.sample.sequences), static_cast<double>(method_.sample.tokens));
  }

  void write() {
    if (calibrated()) {
      calibrate(0, true);
    } else {
      take(weights_ * fit_ + operations(2 * kReadWeight * weights_), streamed(largest_));
    }
    take(operations(kReadWeight * all_weights_), std::max(streamed(largest_), kProgram + kPieces + kept_));
    total_.disk_bytes += checkpoint_;
  }

  const Model& model_;
  const Method& method_;
  const MachineSpeed& speed_;
  std::optional<DecoderShape> shape_;               // of a model with a configuration
  double weights_ = 0, largest_ = 0, outside_ = 0;  // of the matrices: outside the layers
  double all_weights_ = 0, stored_ = 0;
  double kept_ = 0;         // bytes
  int64_t checkpoint_ = 0;  // bytes that one takes
  double tokens_ = 0;       // of the calibration
  double fit_ = 0;          // seconds a weight
  bool measured_kl_ = false, weighed_ = false;
  Forecast total_;
};

const ModelConfig& config_of(const Model& model) {
  const auto& config = model.state().source().config();
  if (config) return *config;
  throw Error(ErrorCode::unsupported, "run " + model.path().string(), "a model without configuration", "a config.json");
}

double stored_bytes(const Model& model) {
  return static_cast<double>(weight_bytes(model).stored);
}

}  // namespace

Forecast& Forecast::operator+=(const Forecast& next) {
  seconds += next.seconds;
  memory_bytes = std::max(memory_bytes, next.memory_bytes);
  disk_bytes += next.disk_bytes;
  return *this;
}

Forecast forecast(const Model& model, const MethodRequest& request, const Method& method, Job job,
                  const MachineSpeed& speed, const std::optional<ScoredText>& trial_text) {
  Planner planner(model, select_matrices(model.state().source(), method.matrices),
                  bytes_for_matrices(model, request, method), method, speed);
  planner.measure();
  if (job != Job::quantize) return planner.total();
  const bool trials = request.max_loss || request.verify;
  const int plans = request.max_loss ? kTriedForLoss : request.verify ? 2 : 1;
  planner.quantize(plans);
  if (trials) planner.compare(plans, trial_text.value_or(sampled_text(TrialOptions().self)));
  return planner.total();
}

Forecast forecast(const Model& model, const PlanFile& plan, const MachineSpeed& speed) {
  const auto schemes = match_plan(model.state().source(), plan);
  std::vector<const SourceTensor*> matrices;
  for (const auto& [tensor, scheme] : schemes) matrices.push_back(tensor);
  const Method method = method_of(plan);
  Planner planner(model, matrices, plan.plan.bytes, method, speed);
  planner.quantize(1);
  return planner.total();
}

ScoredText text_of_bytes(int64_t bytes, const PerplexityOptions& options) {
  ScoredText text;
  text.predictions = bytes / kBytesPerToken;
  if (options.max_tokens > 0) text.predictions = std::min(text.predictions, options.max_tokens);
  text.tokens = text.predictions;
  text.window = window_of(options);
  if (options.recipe == Recipe::llama_cpp) {
    text.predictions /= 2;
  } else {
    const int64_t stride = options.stride > 0 ? options.stride : std::max<int64_t>(1, text.window / 2);
    const auto times = std::max(1.0, static_cast<double>(text.window) / static_cast<double>(stride));
    text.tokens = saturate<int64_t>(static_cast<double>(text.tokens) * times);
  }
  return text;
}

ScoredText sampled_text(const SelfText& text) {
  ScoredText scored;
  scored.tokens = scored.predictions = text.sequences * text.tokens;
  scored.window = text.tokens;
  scored.sampled_rows = text.sequences;
  return scored;
}

Forecast forecast_evaluation(const Model& model, const Model& base, const ScoredText& text, const RunOptions& run,
                             const MachineSpeed& speed) {
  const DecoderShape shape(config_of(model)), base_shape(config_of(base));
  const Decoding own(shape, run, speed, stored_bytes(model)), other(base_shape, run, speed, stored_bytes(base));
  const auto tokens = static_cast<double>(text.tokens), predictions = static_cast<double>(text.predictions);
  const auto window = static_cast<double>(text.window);
  const double at_once = std::max(window, std::min(tokens, 1024.0));
  const bool both = text.against && !text.known_logits;
  Forecast result;
  result.seconds = own.load() + own.forward(tokens, window) + own.logits(predictions);
  double memory = kProgram + own.loaded() + own.activations(at_once) + kF32 * at_once * shape.hidden + kLogitBlock;
  double most = own.loading();
  if (both) {
    result.seconds += other.load() + other.forward(tokens, window) + other.logits(predictions);
    memory += other.loaded() + other.activations(at_once) + kLogitBlock;
  }
  if (text.sampled_rows > 0) {
    const auto rows = static_cast<double>(text.sampled_rows);
    const double together = other.sampled_together(rows, window);
    result.seconds += other.sample(rows, together, window);
    most = std::max(most, other.caches(together, window) - (both ? own.loaded() : 0));
  }
  if (text.known_logits) {  // read, and mapped while they are
    result.seconds += predictions * shape.words * speed.f32.operation() * kLogit;
    memory += std::min(predictions * base_shape.words * kF32, 2 * kLogitBlock);
  }
  result.memory_bytes = saturate<int64_t>(memory + std::max(0.0, most));
  if (text.keeps_logits && !text.known_logits)
    result.disk_bytes = saturate<int64_t>(predictions * base_shape.words * kF32);
  return result;
}

Forecast forecast_generation(const Model& model, int64_t prompt, int64_t tokens, const RunOptions& run,
                             const MachineSpeed& speed) {
  const DecoderShape shape(config_of(model));
  const Decoding decoding(shape, run, speed, stored_bytes(model));
  const auto all = static_cast<double>(prompt + tokens), piece = std::min(512.0, static_cast<double>(prompt));
  Forecast result;
  result.seconds = decoding.load() + decoding.forward(static_cast<double>(prompt), static_cast<double>(prompt)) +
                   decoding.sample(1, 1, static_cast<double>(tokens));
  result.memory_bytes =
      saturate<int64_t>(kProgram + decoding.loaded() +
                        std::max(decoding.loading(), decoding.caches(1, all) + decoding.activations(piece)));
  return result;
}

}  // namespace mxq
