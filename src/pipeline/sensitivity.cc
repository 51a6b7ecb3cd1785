#include "mxq/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/content_hash.h"
#include "evaluate/sample.h"
#include "evaluate/sensitivity.h"
#include "kernels/matmul.h"
#include "model/model_tokenizer.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/quantized_matrix.h"

namespace mxq {

namespace {

/// Raised whenever probes give other numbers than before.
constexpr int kSensitivityVersion = 1;

/// What one model's probes gave so far.
class ProbeCache {
 public:
  struct Result {
    double kl = 0, squared_error = 0;
  };

  ProbeCache(const std::filesystem::path& folder, const ModelSource& model, const SensitivityOptions& options,
             Compute compute) {
    if (folder.empty()) return;
    ContentHash hash;
    for (const auto& tensor : model.tensors()) model.hash(tensor, hash);
    const SelfText& text = options.text;
    hash.add(fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} v{}", model.config_json(), text.sequences, text.tokens,
                         text.sampling.temperature, text.sampling.top_p, text.sampling.seed, options.probe.name(),
                         fit_name(options.quantize.fit), options.quantize.axis,
                         metadata_name(options.quantize.metadata), normalize_name(options.quantize.normalize),
                         compute == Compute::bf16 ? "bf16" : "f32", kSensitivityVersion));
    const std::string key = hash.hex();
    path_ = folder / "sensitivity" / (key + ".json");
    load();
  }

  std::vector<std::vector<int32_t>> sequences;
  std::map<std::string, Result> results;

  void store() const {
    if (path_.empty()) return;
    nlohmann::json json{{"sequences", sequences}, {"probes", nlohmann::json::object()}};
    // NaN becomes null.
    for (const auto& [name, result] : results) json["probes"][name] = {result.kl, result.squared_error};
    std::error_code error;
    std::filesystem::create_directories(path_.parent_path(), error);
    try {
      write_file(path_, json.dump());
    } catch (const Error&) {
      // A cache that cannot be written costs time later, not correctness now.
    }
  }

 private:
  void load() {
    try {
      const auto json = nlohmann::json::parse(read_file(path_));
      sequences = json.at("sequences");
      for (const auto& [name, result] : json.at("probes").items()) {
        results[name] = {result.at(0).is_null() ? std::nan("") : result.at(0).get<double>(), result.at(1)};
      }
    } catch (const Error&) {
    } catch (const nlohmann::json::exception&) {
      sequences.clear();
      results.clear();
    }
  }

  std::filesystem::path path_;
};

/// Quantized and back; sets the squared error.
std::vector<float> probed_weights(const ModelSource& model, const SourceTensor& tensor,
                                  const SensitivityOptions& options, double& squared_error) {
  std::vector<float> weights(static_cast<size_t>(tensor.elements())), probed(weights.size());
  model.read(tensor, weights.data());
  const auto quantized =
      quantize_matrix({weights.data(), tensor.rows(), tensor.cols()}, options.probe, options.quantize);
  dequantize_matrix(quantized.view(), probed.data());
  squared_error = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double difference = static_cast<double>(weights[i]) - probed[i];
    squared_error += difference * difference;
  }
  model.done(tensor);
  return probed;
}

}  // namespace

std::optional<std::string> why_not_runnable(const std::filesystem::path& path) {
  try {
    const auto model = open_model(path);
    const auto& known = decoder_architectures();
    if (std::find(known.begin(), known.end(), model->architecture()) == known.end()) {
      return fmt::format("architecture '{}' cannot be run; {}", model->architecture(), fmt::join(known, ", "));
    }
    start_tokens(*model, *open_model_tokenizer(*model));
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

SensitivityReport measure_sensitivity(const std::filesystem::path& path, ErrorTable& table,
                                      const SensitivityOptions& options, Progress* progress_or_null) {
  const auto started = std::chrono::steady_clock::now();
  Progress& progress = or_silent(progress_or_null);
  const auto model = open_model(path);
  const auto starts = start_tokens(*model, *open_model_tokenizer(*model));
  const Compute compute = options.compute.value_or(bf16_matmul_supported() ? Compute::bf16 : Compute::f32);
  ProbeCache cache(options.cache, *model, options, compute);

  std::vector<Probe> probes;
  std::map<std::string, double> errors;
  for (const MatrixErrors& matrix : table.matrices) {
    const SourceTensor* tensor = model->find(matrix.name + ".weight");
    if (tensor == nullptr) {
      throw Error(ErrorCode::usage, "measure sensitivity", fmt::format("no matrix '{}' in the model", matrix.name));
    }
    if (cache.results.contains(matrix.name)) continue;
    probes.push_back({matrix.name, [&, tensor, name = matrix.name] {
                        return probed_weights(*model, *tensor, options, errors[name]);
                      }});
  }
  SensitivityReport report;
  report.probes = static_cast<int64_t>(table.matrices.size());
  report.from_cache = report.probes - static_cast<int64_t>(probes.size());
  if (!probes.empty()) {
    Decoder decoder(*model, {compute, false});
    if (cache.sequences.empty()) cache.sequences = sample_sequences(decoder, starts, options.text, progress);
    probe_divergences(decoder, cache.sequences, probes, progress, [&](size_t i, double kl) {
      cache.results[probes[i].matrix] = {kl, errors[probes[i].matrix]};
      cache.store();
    });
  }

  double largest = 0;
  for (MatrixErrors& matrix : table.matrices) {
    const auto& [kl, squared_error] = cache.results.at(matrix.name);
    if (!std::isfinite(kl)) {
      report.not_finite.push_back(matrix.name);
      continue;
    }
    // A matrix that the probe does not change has lost nothing at any scheme.
    matrix.sensitivity = squared_error > 0 ? kl / squared_error : 0;
    largest = std::max(largest, matrix.sensitivity);
  }
  for (MatrixErrors& matrix : table.matrices) {
    if (!std::isfinite(cache.results.at(matrix.name).kl)) matrix.sensitivity = largest;
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return report;
}

}  // namespace mxq
