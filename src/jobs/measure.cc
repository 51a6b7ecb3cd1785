#include "mxq/measure.h"

#include <fmt/format.h>

#include "base/stopwatch.h"
#include "export/target.h"
#include "jobs/measure_cache.h"
#include "model/model_state.h"
#include "model/select_matrices.h"
#include "model/statistics.h"
#include "mxq/error.h"
#include "mxq/quantized_matrix.h"
#include "schemes/magnitude.h"

namespace mxq {

namespace {

/// Errors of all `schemes` on one matrix, from the cache as far as it has them. Sets `complete` where no work was left.
CachedMatrix measure_one(Model::State& state, const SourceTensor& tensor, const MeasureOptions& options,
                         const MeasureCache& cache, std::vector<float>& buffer, bool& complete) {
  const ModelSource& model = state.source();
  const std::string key = MeasureCache::key(state.tensor_id(tensor), tensor.rows(), tensor.cols(), options.quantize);
  auto known = cache.find(key);
  const Target& target = find_target(options.format);
  std::vector<Scheme> missing;
  for (const auto& scheme : options.schemes) {
    if (!target.holds(scheme, options.quantize, tensor.rows(), tensor.cols())) continue;
    if (!known || !known->fnorm.contains(scheme.name())) missing.push_back(scheme);
  }
  complete = missing.empty();
  if (complete) return *known;

  buffer.resize(static_cast<size_t>(tensor.rows() * tensor.cols()));
  model.read(tensor, buffer.data());
  const MatrixView matrix{buffer.data(), tensor.rows(), tensor.cols()};
  if (!known) {
    const Moments stats = moments(matrix, tensor.name);
    known = CachedMatrix{stats.norm, stats.kurtosis, {}};
  }
  check_magnitude(matrix, missing, options.quantize, fmt::format("measure '{}'", tensor.matrix_name()));
  const auto errors = measure_matrix(matrix, missing, options.quantize);
  for (size_t i = 0; i < missing.size(); ++i) known->fnorm[missing[i].name()] = errors[i];
  cache.store(key, *known);
  return *known;
}

}  // namespace

ErrorTable size_table(const Model& model, const MeasureOptions& options) {
  const Target& target = find_target(options.format);
  const QuantizeOptions quantize = tabled(options.quantize);
  ErrorTable table;
  for (const SourceTensor* tensor : select_matrices(model.state().source(), options.matrices)) {
    MatrixErrors& row = table.matrices.emplace_back();
    row.name = tensor->matrix_name();
    row.layer = tensor->matrix->layer;
    row.module = tensor->matrix->module;
    row.rows = tensor->rows();
    row.cols = tensor->cols();
    row.params = row.rows * row.cols;
    for (const Scheme& scheme : options.schemes) {
      if (!target.holds(scheme, quantize, row.rows, row.cols)) continue;
      row.schemes.push_back(
          {scheme.name(), target.matrix_bytes(scheme, quantize, row.rows, row.cols), 0, scheme.bits, scheme.group});
    }
    if (!row.schemes.empty() || options.schemes.empty()) continue;
    throw Error(ErrorCode::unsupported, "schemes",
                fmt::format("none holds '{}', {} x {}, in the format {}", row.name, row.rows, row.cols, target.name()),
                "schemes whose blocks divide its columns; --skip leaves the matrix as it is");
  }
  return table;
}

Measurement measure_model(const Model& opened, const MeasureOptions& given, Progress* progress) {
  const Stopwatch watch;
  MeasureOptions options = given;
  options.quantize = tabled(given.quantize);
  const ModelSource& model = opened.state().source();
  const auto matrices = select_matrices(model, options.matrices);
  const MeasureCache cache(options.cache);
  Progress& bar = or_silent(progress);
  int64_t weights = 0, done = 0;
  for (const auto* tensor : matrices) weights += tensor->rows() * tensor->cols();

  Measurement result;
  result.table = size_table(opened, options);
  std::vector<float> buffer;
  bar.begin("measure", weights);
  for (size_t i = 0; i < matrices.size(); ++i) {
    bool complete = false;
    const CachedMatrix measured = measure_one(opened.state(), *matrices[i], options, cache, buffer, complete);
    result.matrices_from_cache += complete;
    MatrixErrors& row = result.table.matrices[i];
    row.norm = measured.norm;
    row.kurtosis = measured.kurtosis;
    for (SchemeCost& cost : row.schemes) cost.fnorm = measured.fnorm.at(cost.scheme);
    done += row.params;
    model.done(*matrices[i]);
    bar.update(done);
  }
  bar.end();
  result.seconds = watch.seconds();
  return result;
}

}  // namespace mxq
