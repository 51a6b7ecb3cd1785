// A folder for mlx-lm: each matrix with bits and groups of its own, a scale and a bias for each group.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_set>
#include <utility>

#include "base/foreign_dtype.h"
#include "export/bias_groups.h"
#include "export/mlx_model.h"
#include "export/model_folder.h"
#include "export/target.h"
#include "format/mlx_config.h"
#include "model/select_matrices.h"
#include "mxq/error.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace {

const SafetensorsMetadata kMetadata{{"format", "mlx"}};

/// Codes as MLX names and shapes them; the bytes are those of the affine family's parts.
std::vector<TensorSpec> matrix_specs(const std::string& name, const QuantizedLayout& layout) {
  constexpr int64_t kWord = 32;  // bits
  const int64_t words = layout.cols * layout.scheme.bits / kWord, groups = layout.cols / layout.scheme.group;
  const DType half = float_dtype(layout.metadata);
  return {{name + ".weight", foreign_dtype("U32"), {layout.rows, words}, 4 * layout.rows * words},
          {name + ".scales", half, {layout.rows, groups}},
          {name + ".biases", half, {layout.rows, groups}}};
}

class MlxTarget final : public FolderTarget {
 public:
  std::string_view name() const override { return "mlx"; }

  std::vector<Scheme> usual_schemes() const override { return wide_schemes(); }
  std::optional<Normalize> usual_normalize() const override { return Normalize::none; }
  std::optional<Metadata> usual_metadata(const ModelSource* model) const override { return usual_bias_metadata(model); }
  bool plans_embeddings() const override { return true; }

  void check(const QuantizeOptions& options, std::span<const Scheme> schemes) const override {
    for (const Scheme& scheme : schemes) {
      if (!is_wide(scheme)) refuse("schemes", scheme.name(), kWideSchemes);
    }
    if (options.fit == Fit::awq) refuse("fit", fit_name(options.fit), "gptq, mse, hqq or rtn");
    if (options.normalize != Normalize::none) refuse("normalize", normalize_name(options.normalize), "none");
    if (options.axis != 1) refuse("axis", "0", "1");
    if (!has_bias(options.metadata)) refuse("metadata", metadata_name(options.metadata), "f16-bias or bf16-bias");
  }

  void check_model(const ModelSource& model) const override {
    std::vector<std::string> notes;
    mlx_tensors(model, notes);
    mlx_config_json(model, DType::f16);
  }

  bool holds(const Scheme& scheme, const QuantizeOptions&, int64_t, int64_t cols) const override {
    return is_wide(scheme) && cols % scheme.group == 0;
  }

  int64_t matrix_bytes(const Scheme& scheme, const QuantizeOptions& options, int64_t rows,
                       int64_t cols) const override {
    return storage_bytes(scheme, options, rows, cols);
  }

  RestBytes rest(const ModelSource& model, const std::vector<const SourceTensor*>& matrices) const override {
    std::vector<std::string> notes;
    RestBytes bytes;
    std::vector<TensorSpec> specs;
    // The dtype with the longer name, and of matrices the scheme of the most bytes.
    for (const SourceTensor* tensor : kept_tensors(model, matrices, notes)) {
      bytes.tensors += specs.emplace_back(TensorSpec{tensor->name, DType::bf16, tensor->shape}).bytes();
    }
    for (const SourceTensor* tensor : matrices) {
      const QuantizedLayout widest{tensor->rows(), tensor->cols(), {8, 32}, 1, Metadata::bf16_bias};
      for (auto& spec : matrix_specs(tensor->matrix_name(), widest)) specs.push_back(std::move(spec));
    }
    bytes.headers =
        header_bytes(specs, kMetadata) + static_cast<int64_t>(plan_shards(specs).shards.size()) * kShardOverhead;
    return bytes;
  }

  WriteReport write(const Export& what, const OutputPlace& out, const WriteOptions& options,
                    Progress* progress) const override {
    const ModelSource& model = what.model;
    check_plan(what);
    const DType dtype = float_dtype(what.quantize.metadata);
    std::vector<std::string> notes;
    FolderContents contents;
    MlxQuantization quantization;
    std::vector<const SourceTensor*> planned;
    std::map<std::pair<int, int>, int64_t> weights;  // by bits and group
    int64_t matrix_bytes = 0;
    for (const auto& [tensor, layout, make] : what.matrices) {
      const std::string module = tensor->matrix_name();
      OutputTensors output = quantized_output(module, layout, make);
      output.specs = matrix_specs(module, layout);
      contents.tensors.push_back(std::move(output));
      planned.push_back(tensor);
      quantization.modules[module] = {layout.scheme.bits, layout.scheme.group, quantization.usual.mode};
      weights[{layout.scheme.bits, layout.scheme.group}] += tensor->elements();
      matrix_bytes += layout.total_bytes();
    }
    for (const SourceTensor* tensor : kept_tensors(model, planned, notes)) {
      OutputTensors output = plain_output(model, *tensor, dtype, NotFinite::refuse, notes);
      output.specs.front().name = tensor->name;
      contents.tensors.push_back(std::move(output));
      if (tensor->matrix) quantization.modules[tensor->matrix_name()] = std::nullopt;
    }
    if (!weights.empty()) {
      const auto most = std::max_element(weights.begin(), weights.end(),
                                         [](const auto& a, const auto& b) { return a.second < b.second; });
      quantization.usual.bits = most->first.first;
      quantization.usual.group = most->first.second;
    }
    contents.files = {{"config.json", set_mlx_quantization(mlx_config_json(model, dtype), quantization, "config.json")},
                      {kPlanName, what.plan}};
    contents.key = what.key;
    contents.metadata = kMetadata;
    auto report =
        write_model_folder(model, contents, OutputFolder(out.path, out.overwrite, out.inputs), options, progress);
    report.notes.insert(report.notes.end(), notes.begin(), notes.end());
    report.matrix_bytes = matrix_bytes;
    return report;
  }

 private:
  /// A plan from a file may say anything.
  void check_plan(const Export& what) const {
    for (const ExportMatrix& matrix : what.matrices) {
      const QuantizedLayout& layout = matrix.layout;
      check(what.quantize, {&layout.scheme, 1});
      if (holds(layout.scheme, what.quantize, layout.rows, layout.cols)) continue;
      throw Error(
          ErrorCode::usage, "write MLX",
          fmt::format("'{}' of {} columns in {}", matrix.tensor->matrix_name(), layout.cols, layout.scheme.name()),
          "groups that divide its columns");
    }
  }

  /// Of what mlx-lm has, all but the planned ones. Throws Error(unsupported) for one of these that it has not.
  static std::vector<const SourceTensor*> kept_tensors(const ModelSource& model,
                                                       const std::vector<const SourceTensor*>& planned,
                                                       std::vector<std::string>& notes) {
    std::unordered_set<const SourceTensor*> quantized(planned.begin(), planned.end());
    std::vector<const SourceTensor*> kept;
    for (const SourceTensor* tensor : mlx_tensors(model, notes)) {
      if (quantized.erase(tensor) == 0) kept.push_back(tensor);
    }
    for (const SourceTensor* tensor : planned) {
      if (!quantized.contains(tensor)) continue;
      throw Error(ErrorCode::unsupported, "write MLX",
                  fmt::format("matrix '{}', which mlx-lm's class of the model has not", tensor->matrix_name()),
                  "--skip, which leaves the matrix out");
    }
    return kept;
  }
};

}  // namespace

const Target& mlx_target() {
  static const MlxTarget target;
  return target;
}

}  // namespace mxq
