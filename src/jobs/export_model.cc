#include "mxq/export_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/stopwatch.h"
#include "export/model_folder.h"
#include "export/target.h"
#include "model/model_state.h"
#include "model/select_matrices.h"
#include "model/statistics.h"
#include "mxq/error.h"
#include "mxq/quantized_matrix.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "export";
constexpr int64_t kRowsLookedAt = 16;

/// |W - W'| / |W|; 0 for a matrix of zeros that stays one.
double change(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options) {
  const double norm = moments(matrix, "a matrix").norm;
  const double lost = measure_matrix(matrix, {&scheme, 1}, options).front();
  return lost == 0 ? 0 : norm == 0 ? HUGE_VAL : lost / norm;
}

/// What the format can be asked for, the usual first.
std::vector<QuantizeOptions> possible_options(const Target& target, const ModelSource& model) {
  QuantizeOptions usual;
  usual.fit = Fit::mse;
  usual.normalize = Normalize::none;
  usual.metadata = target.usual_metadata(&model).value_or(Metadata::f16);
  usual.feedback.zero_point = target.usual_zero_point().value_or(ZeroPoint::real);
  std::vector<QuantizeOptions> all;
  for (const Metadata metadata : {usual.metadata, Metadata::f16_bias, Metadata::bf16_bias, Metadata::f16}) {
    for (const ZeroPoint zero : {usual.feedback.zero_point, ZeroPoint::integer, ZeroPoint::symmetric}) {
      QuantizeOptions options = usual;
      options.metadata = metadata;
      options.feedback.zero_point = zero;
      const bool known = std::any_of(all.begin(), all.end(), [&](const QuantizeOptions& other) {
        return other.metadata == metadata && other.feedback.zero_point == zero;
      });
      if (known) continue;
      try {
        target.check(options, {});
        all.push_back(options);
      } catch (const Error&) {  // the format has no such thing
      }
    }
  }
  return all;
}

std::vector<Scheme> possible_schemes(const Target& target) {
  std::vector<Scheme> schemes = target.usual_schemes();
  if (schemes.empty()) schemes = parse_schemes("all,gaussian");
  return schemes;
}

class Exporter {
 public:
  Exporter(const ModelSource& model, const Target& target, const std::vector<std::string>& skip)
      : model_(model), target_(target), schemes_(possible_schemes(target)) {
    const MatrixSelection selection{skip, target.holds_embeddings()};
    for (const SourceTensor* tensor : select_matrices(model, selection)) {
      if (!holds_floats(*tensor)) matrices_.push_back(tensor);
    }
    if (matrices_.empty()) {
      throw Error(ErrorCode::unsupported, kOperation, "a model without quantized matrices", "mxq quantize");
    }
  }

  /// The plan by the first options with which the format holds all matrices.
  ExportReport plan() const {
    std::optional<Error> first;
    for (const QuantizeOptions& options : possible_options(target_, model_)) {
      try {
        return plan(options);
      } catch (const Error& e) {
        if (e.code() != ErrorCode::unsupported) throw;
        if (!first) first = e;
      }
    }
    throw first.value();
  }

 private:
  ExportReport plan(const QuantizeOptions& options) const {
    ExportReport report;
    report.plan.quantize = options;
    report.plan.format = target_.name();
    Plan& plan = report.plan.plan;
    int64_t weights = 0;
    for (const SourceTensor* tensor : matrices_) {
      const auto values = read_finite(model_, *tensor);
      const MatrixView matrix{values.data(), tensor->rows(), tensor->cols()};
      double lost = 0;
      const Scheme scheme = scheme_of(*tensor, matrix, options, lost);
      report.largest_change = std::max(report.largest_change, lost);
      const int64_t bytes = target_.matrix_bytes(scheme, options, matrix.rows, matrix.cols);
      plan.matrices.push_back({tensor->matrix_name(), scheme.name(), bytes, lost * moments(matrix, tensor->name).norm});
      plan.bytes += bytes;
      weights += tensor->elements();
    }
    plan.budget_bytes = plan.bytes;
    plan.bits_per_parameter = 8.0 * static_cast<double>(plan.bytes) / static_cast<double>(weights);
    return report;
  }

  /// The one of fewest bytes that holds the matrix; some rows tell of most that they do not.
  Scheme scheme_of(const SourceTensor& tensor, MatrixView matrix, const QuantizeOptions& options, double& lost) const {
    std::vector<Scheme> held;
    for (const Scheme& scheme : schemes_) {
      if (target_.holds(scheme, options, matrix.rows, matrix.cols)) held.push_back(scheme);
    }
    std::stable_sort(held.begin(), held.end(), [&](const Scheme& a, const Scheme& b) {
      return target_.matrix_bytes(a, options, matrix.rows, matrix.cols) <
             target_.matrix_bytes(b, options, matrix.rows, matrix.cols);
    });
    const MatrixView some{matrix.data, std::min(matrix.rows, kRowsLookedAt), matrix.cols};
    for (const Scheme& scheme : held) {
      if (change(some, scheme, options) > kLargestExportChange) continue;
      lost = change(matrix, scheme, options);
      if (lost <= kLargestExportChange) return scheme;
    }
    throw Error(ErrorCode::unsupported, kOperation,
                fmt::format("'{}', stored as {}, whose weights no scheme of the format {} holds as they are",
                            tensor.matrix_name(), tensor.stored_as, target_.name()),
                "--skip, which writes it as floats, or mxq quantize of the original model");
  }

  const ModelSource& model_;
  const Target& target_;
  std::vector<Scheme> schemes_;
  std::vector<const SourceTensor*> matrices_;
};

/// Of quantized tensors for which the format has no place.
void note_floats(const ModelSource& model, const PlanFile& plan, std::vector<std::string>& notes) {
  for (const SourceTensor& tensor : model.tensors()) {
    if (!tensor.matrix || holds_floats(tensor) || model.copy_of(tensor) != nullptr) continue;
    const std::string name = tensor.matrix_name();
    const bool planned = std::any_of(plan.plan.matrices.begin(), plan.plan.matrices.end(),
                                     [&](const PlannedMatrix& matrix) { return matrix.name == name; });
    if (!planned) notes.push_back(fmt::format("'{}' was stored as {} and becomes floats", name, tensor.stored_as));
  }
}

}  // namespace

ExportReport export_model(const Model& opened, const std::filesystem::path& out, const std::string& format,
                          const std::vector<std::string>& skip, const WriteOptions& options, Progress* progress) {
  const Stopwatch watch;
  const Target& target = find_target(format);
  check_output(opened.path(), out, options, format);
  const ModelSource& model = opened.state().source();
  target.check_model(model);
  ExportReport report = Exporter(model, target, skip).plan();
  report.written = quantize_model(opened, out, report.plan, options, progress);
  if (target.name() != gguf_target().name() || model.gguf() == nullptr) {
    note_floats(model, report.plan, report.written.notes);
  }
  report.written.seconds = watch.seconds();
  return report;
}

}  // namespace mxq
