#include "mxq/inspect.h"

#include "model/model_state.h"
#include "pipeline/statistics.h"

namespace mxq {

ModelReport inspect_model(const Model& opened, Progress* progress) {
  const ModelSource& model = opened.state().source();
  Progress& bar = or_silent(progress);
  ModelReport report;
  report.architecture = model.config() ? model.architecture() : "unknown";
  int64_t weights = 0, done = 0;
  for (const auto& tensor : model.tensors()) {
    report.parameters += tensor.elements();
    if (tensor.matrix && tensor.matrix->in_layer()) weights += tensor.elements();
  }
  std::vector<float> buffer;
  bar.begin("inspect", weights);
  for (const auto& tensor : model.tensors()) {
    if (!tensor.matrix || !tensor.matrix->in_layer()) continue;
    buffer.resize(static_cast<size_t>(tensor.elements()));
    model.read(tensor, buffer.data());
    const MatrixView matrix{buffer.data(), tensor.rows(), tensor.cols()};
    const Moments stats = moments(matrix, tensor.name);
    report.matrices.push_back({tensor.matrix_name(), tensor.rows(), tensor.cols(), tensor.stored_as,
                               magnitude_percentiles(matrix), stats.kurtosis});
    model.done(tensor);
    done += tensor.elements();
    bar.update(done);
  }
  bar.end();
  return report;
}

}  // namespace mxq
