#include "mxq/sensitivity.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <utility>

#include "base/content_hash.h"
#include "base/stopwatch.h"
#include "evaluate/sensitivity.h"
#include "model/model_tokenizer.h"
#include "mxq/error.h"
#include "mxq/measure.h"
#include "mxq/quantized_matrix.h"
#include "mxq/text.h"
#include "pipeline/cache_file.h"
#include "pipeline/calibrated_fit.h"
#include "pipeline/calibration_text.h"
#include "pipeline/probe_results.h"
#include "pipeline/rounding_noise.h"

namespace mxq {

namespace {

/// Raised whenever probes give other numbers than before.
constexpr int kSensitivityVersion = 5;

std::string noise_key(int64_t layer) {
  return fmt::format("rounding noise {}", layer);
}

/// What one model's probes gave so far.
class ProbeCache {
 public:
  ProbeCache(const ModelSource& model, const SensitivityOptions& options, Compute compute, const TokenSequences& text,
             const TokenSequences& calibration) {
    if (options.cache.empty()) return;
    ContentHash hash;
    model.hash_all(hash);
    hash.add(fmt::format("{} {} {} {} {} {} {} {} {} {} {} v{}", nlohmann::json(text).dump(), options.probe.name(),
                         fit_name(options.quantize.fit), options.quantize.axis,
                         metadata_name(options.quantize.metadata), normalize_name(options.quantize.normalize),
                         nlohmann::json(calibration).dump(), options.calibration.damping,
                         column_order_name(options.calibration.order), zero_point_name(options.calibration.zero_point),
                         compute == Compute::bf16 ? "bf16" : "f32", kSensitivityVersion));
    path_ = options.cache / "sensitivity" / (hash.hex() + ".json");
    load();
  }

  std::map<std::string, ProbeResult> results;

  void store() const {
    if (path_.empty()) return;
    auto json = nlohmann::json::object();
    // NaN becomes null.
    for (const auto& [name, result] : results) json[name] = {result.kl, result.squared_error};
    store_cache_file(path_, json);
  }

 private:
  void load() {
    const auto json = load_cache_file(path_);
    if (!json) return;
    try {
      for (const auto& [name, result] : json->items()) {
        results[name] = {result.at(0).is_null() ? std::nan("") : result.at(0).get<double>(), result.at(1)};
      }
    } catch (const nlohmann::json::exception&) {
      results.clear();
    }
  }

  std::filesystem::path path_;
};

double squared_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - b[i];
    sum += difference * difference;
  }
  return sum;
}

/// Quantized, by `factor` where the fit is a calibrated one, and back; sets the squared error.
std::vector<float> probed_weights(const ModelSource& model, const SourceTensor& tensor,
                                  const SensitivityOptions& options, const FeedbackFactor* factor,
                                  double& squared_error) {
  std::vector<float> weights(static_cast<size_t>(tensor.elements())), probed(weights.size());
  model.read(tensor, weights.data());
  model.done(tensor);
  const MatrixView matrix{weights.data(), tensor.rows(), tensor.cols()};
  if (factor == nullptr) {
    dequantize_matrix(quantize_matrix(matrix, options.probe, tabled(options.quantize)).view(), probed.data());
    squared_error = squared_difference(weights, probed);
    return probed;
  }
  squared_error = std::pow(measure_matrix(matrix, {&options.probe, 1}, tabled(options.quantize)).front(), 2);
  dequantize_matrix(quantize_matrix_gptq(matrix, *factor, options.probe, options.quantize).view(), probed.data());
  return probed;
}

/// The text that sensitivities are measured on, and the calibration's: sampled at once where both are the model's own.
CalibrationText texts_of(const ModelSource& model, Decoder& decoder, const SensitivityOptions& options,
                         Progress& progress) {
  const Calibration& calibration = options.calibration;
  auto text = calibration_text(model, decoder, calibration, options.cache, progress);
  const SelfText& wanted = options.text;
  const bool same = wanted.sequences == kProbeSequences && wanted.tokens == calibration.tokens &&
                    wanted.sampling == calibration.sampling &&
                    wanted.temperature_factors == probe_temperature_factors();
  if (text.probes.empty() || !same) {
    auto own = self_sequences(model, decoder, wanted, options.cache, progress);
    text.probes = std::move(own.sequences);
    text.health.sequences += own.health.sequences;
    text.health.drawn_anew += own.health.drawn_anew;
    text.health.degenerate += own.health.degenerate;
  }
  return text;
}

}  // namespace

std::optional<std::string> why_not_runnable(const std::filesystem::path& path) {
  try {
    const auto model = open_model(path);
    const Decoder decoder(*model, {Compute::f32, true});  // packed: no matrix is read
    open_model_tokenizer(*model);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

SensitivityReport measure_sensitivity(const std::filesystem::path& path, ErrorTable& table,
                                      const SensitivityOptions& options, Progress* progress_or_null) {
  const Stopwatch watch;
  Progress& progress = or_silent(progress_or_null);
  const auto model = open_model(path);
  open_model_tokenizer(*model);  // what is missing is said before the model is loaded
  check_calibration(options.calibration, options.quantize);
  const Compute compute = options.compute.value_or(best_compute());
  Decoder decoder(*model, {compute, false});
  const auto texts = texts_of(*model, decoder, options, progress);
  const auto &text = texts.probes, &calibration = texts.sequences;
  ProbeCache cache(*model, options, compute, text, calibration);
  std::optional<OriginalFactors> factors;

  std::vector<Probe> probes;
  std::vector<std::string> keys;  // under which the cache has them
  std::map<std::string, double> errors;
  for (const MatrixErrors& matrix : table.matrices) {
    const SourceTensor* tensor = model->find(matrix.name + ".weight");
    if (tensor == nullptr) {
      throw Error(ErrorCode::usage, "measure sensitivity", fmt::format("no matrix '{}' in the model", matrix.name));
    }
    if (cache.results.contains(matrix.name)) continue;
    keys.push_back(matrix.name);
    probes.push_back({matrix.name, [&, tensor, name = matrix.name] {
                        const FeedbackFactor* factor = factors ? factors->of(name) : nullptr;
                        return probed_weights(*model, *tensor, options, factor, errors[name]);
                      }});
  }
  SensitivityReport report;
  report.sample = texts.health;
  if (options.calibration.text == Calibration::Text::self) report.sampled = {calibration, texts.health};
  report.probes = static_cast<int64_t>(table.matrices.size());
  report.from_cache = report.probes - static_cast<int64_t>(probes.size());
  const auto noise_layers =
      compute == Compute::bf16 ? RoundingNoise::layers_to_measure(decoder.layers()) : std::vector<int64_t>();
  for (const int64_t layer : noise_layers) {
    if (cache.results.contains(noise_key(layer))) continue;
    const std::string name = decoder_matrix(layer, "self_attn.v_proj");
    const SourceTensor* tensor = model->find(name + ".weight");
    keys.push_back(noise_key(layer));
    probes.push_back({name, [&model, tensor] { return RoundingNoise::changed(*model, *tensor); }});
  }
  if (!probes.empty()) {
    // What awq does is folded into other tensors: it is probed as rtn.
    if (!calibration.empty() && options.quantize.fit != Fit::awq)
      factors.emplace(decoder, calibration,
                      gptq_options(options.quantize.fit, options.calibration, options.probe.group));
    probe_divergences(decoder, text, probes, progress, [&](size_t i, double kl) {
      cache.results[keys[i]] = {kl, errors[keys[i]]};
      cache.store();
    });
  }

  RoundingNoise noise;
  for (const int64_t layer : noise_layers) {
    const double kl = cache.results.at(noise_key(layer)).kl;
    if (std::isfinite(kl)) noise.set(layer, kl);
  }
  report.not_finite = set_sensitivities(table, cache.results, noise, options.probe.name());
  report.seconds = watch.seconds();
  return report;
}

}  // namespace mxq
