#include "mxq/sensitivity.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/content_hash.h"
#include "base/stopwatch.h"
#include "calibrate/calibrated_fit.h"
#include "calibrate/calibration_text.h"
#include "calibrate/probe_divergence.h"
#include "calibrate/token_weights.h"
#include "format/cache_file.h"
#include "jobs/fitted_probes.h"
#include "jobs/probe_results.h"
#include "model/model_state.h"
#include "model/statistics.h"
#include "mxq/error.h"
#include "mxq/measure.h"
#include "mxq/method.h"
#include "mxq/quantized_matrix.h"
#include "mxq/text.h"
#include "schemes/family.h"

namespace mxq {

namespace {

/// Raised whenever probes give other numbers than before.
constexpr int kSensitivityVersion = 9;

/// What one model's probes gave so far.
class ProbeCache {
 public:
  ProbeCache(Model::State& model, const SensitivityOptions& options, Compute compute, const TokenSequences& text,
             const TokenSequences& calibration, Progress& progress) {
    if (options.cache.empty()) return;
    ContentHash hash;
    hash.add(model.content_id(&progress));
    hash.add(fmt::format("{} {} {} {} {} {} v{}", nlohmann::json(text).dump(), options.probe.name(),
                         section_key(options.quantize, "quantize"), nlohmann::json(calibration).dump(),
                         section_key(options.quantize, "calibration"), compute_name(compute), kSensitivityVersion));
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

FittedProbe fit_alone(const ModelSource& model, const SourceTensor& tensor, const SensitivityOptions& options) {
  const auto weights = read_weights(model, tensor);
  const MatrixView matrix{weights.data(), tensor.rows(), tensor.cols()};
  FittedProbe probe{quantize_matrix(matrix, options.probe, tabled(options.quantize)), 0};
  const double fnorm = squared_error_norm(matrix, probe.matrix.view());
  probe.squared_error = fnorm * fnorm;
  return probe;
}

FittedProbe fit_to_inputs(const ModelSource& model, const SourceTensor& tensor, const FeedbackFactor& factor,
                          const SensitivityOptions& options) {
  const auto weights = read_weights(model, tensor);
  const MatrixView matrix{weights.data(), tensor.rows(), tensor.cols()};
  const double fnorm = measure_matrix(matrix, {&options.probe, 1}, tabled(options.quantize)).front();
  return {quantize_matrix_gptq(matrix, factor, options.probe, options.quantize), fnorm * fnorm};
}

/// The probes of `matrices` (whose order does not matter), fitted to the inputs that the model has as it is: from the
/// first layer to the last, while gradients come the other way. What waits meanwhile waits in `probes`.
void fit_to_inputs(const ModelSource& model, Runner& runner, const TokenSequences& calibration,
                   std::span<const std::vector<float>> weights, const std::vector<const SourceTensor*>& matrices,
                   const SensitivityOptions& options, Progress& progress, FittedProbes& probes) {
  std::set<std::string> names;
  for (const SourceTensor* tensor : matrices) names.insert(tensor->matrix_name());
  progress.begin("fit probes", std::ssize(matrices));
  const auto tensor_of = [&](const std::string& name) -> const SourceTensor& { return *model.find(name + ".weight"); };
  const auto add = [&](const std::string& name, FittedProbe probe) {
    probes.add(name, std::move(probe));
    progress.update(probes.size());
  };
  const auto alone = for_each_factor(runner, calibration, weights, gptq_options(options.quantize, options.probe.group),
                                     std::move(names), [&](const std::string& name, const FeedbackFactor& factor) {
                                       add(name, fit_to_inputs(model, tensor_of(name), factor, options));
                                     });
  for (const auto& name : alone) add(name, fit_alone(model, tensor_of(name), options));
  progress.end();
}

std::filesystem::path probe_folder(const std::filesystem::path& cache) {
  return cache.empty() ? std::filesystem::temp_directory_path() : cache;
}

/// The text that sensitivities are measured on, and the calibration's: sampled at once where both are the model's own.
CalibrationTokens texts_of(Model::State& model, Runner& runner, const SensitivityOptions& options, Progress& progress) {
  const CalibrationText& calibration = options.calibration;
  auto text = calibration_tokens(model, runner, calibration, options.cache, progress);
  const SelfText& wanted = options.text;
  if (text.probes.empty() || wanted != probe_text(calibration.tokens, calibration.sampling)) {
    const SampledText& own = self_sequences(model, runner, wanted, options.cache, progress);
    text.probes = own.sequences;
    text.health.sequences += own.health.sequences;
    text.health.drawn_anew += own.health.drawn_anew;
    text.health.degenerate += own.health.degenerate;
    text.health.note = own.health.note;
  }
  return text;
}

}  // namespace

SensitivityReport measure_sensitivity(const Model& opened, ErrorTable& table, const SensitivityOptions& options,
                                      Progress* progress_or_null) {
  const Stopwatch watch;
  Progress& progress = or_silent(progress_or_null);
  Model::State& state = opened.state();
  const ModelSource& model = state.source();
  // What is missing is said before the model is loaded. A model's own text takes ids only.
  if (options.calibration.kind == CalibrationText::Kind::file) state.tokenizer();
  check_calibration(options.calibration, options.quantize);
  const Compute compute = options.compute.value_or(best_compute());
  Runner& runner = state.runner(state.run(compute), progress);
  const auto texts = texts_of(state, runner, options, progress);
  const auto &text = texts.probes, &calibration = texts.sequences;
  ProbeCache cache(state, options, compute, text, calibration, progress);
  std::vector<const SourceTensor*> missing;
  for (const MatrixErrors& matrix : table.matrices) {
    const SourceTensor* tensor = model.find(matrix.name + ".weight");
    if (tensor == nullptr) {
      throw Error(ErrorCode::usage, "measure sensitivity", fmt::format("no matrix '{}' in the model", matrix.name));
    }
    if (!cache.results.contains(matrix.name)) missing.push_back(tensor);
  }
  SensitivityReport report;
  report.sample = texts.health;
  report.probes = std::ssize(table.matrices);
  report.from_cache = report.probes - std::ssize(missing);
  if (!missing.empty()) {
    // Where memory does not hold the model, probes wait on the disk.
    FittedProbes fitted = opened.runs_packed() ? FittedProbes(probe_folder(options.cache)) : FittedProbes();
    // What awq does is folded into other tensors: it is probed as rtn.
    if (!calibration.empty() && options.quantize.fit != Fit::awq) {
      const TokenWeights& weights =
          token_weights(state, runner, calibration, options.quantize.feedback.token_weights, progress);
      fit_to_inputs(model, runner, calibration, weights, missing, options, progress, fitted);
    }
    std::vector<Probe> probes;
    std::map<std::string, double> errors;
    for (const SourceTensor* tensor : missing) {
      probes.push_back({tensor->matrix_name(), [&, tensor] {
                          const std::string name = tensor->matrix_name();
                          auto ready = fitted.take(name);
                          const FittedProbe probe = ready ? std::move(*ready) : fit_alone(model, *tensor, options);
                          errors[name] = probe.squared_error;
                          std::vector<float> weights(static_cast<size_t>(tensor->elements()));
                          dequantize_matrix(probe.matrix.view(), weights.data());
                          return weights;
                        }});
    }
    probe_divergences(runner, text, probes, {.seed = options.text.sampling.seed}, progress, [&](size_t i, double kl) {
      cache.results[probes[i].matrix] = {kl, errors[probes[i].matrix]};
      cache.store();
    });
  }
  report.not_finite = set_sensitivities(table, cache.results, options.probe.name());
  report.seconds = watch.seconds();
  return report;
}

}  // namespace mxq
