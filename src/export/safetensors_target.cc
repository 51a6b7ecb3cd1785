#include "export/safetensors_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_set>

#include "export/fused.h"
#include "mxq/error.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace {

int64_t element_bytes(const OutputTensors& output) {
  const TensorSpec& first = output.specs.front();
  int64_t elements = 1;
  for (const int64_t extent : first.shape) elements *= extent;
  return elements == 0 ? 0 : first.bytes() / elements;
}

int64_t bytes_of(const std::vector<OutputTensors>& outputs) {
  int64_t bytes = 0;
  for (const OutputTensors& output : outputs) {
    for (const TensorSpec& spec : output.specs) bytes += spec.bytes();
  }
  return bytes;
}

}  // namespace

std::string SafetensorsTarget::operation() const {
  return fmt::format("write {}", name());
}

int64_t SafetensorsTarget::matrix_bytes(const Scheme& scheme, const QuantizeOptions& options, int64_t rows,
                                        int64_t cols) const {
  return bytes_of(matrix_outputs("", quantized_layout(scheme, options, rows, cols), {}));
}

RestBytes SafetensorsTarget::rest(const ModelSource& model, const std::vector<const SourceTensor*>& matrices) const {
  std::vector<std::string> notes;
  RestBytes bytes;
  std::vector<TensorSpec> specs;
  for (const SourceTensor* tensor : kept_tensors(model, matrices, notes)) {
    // The dtype with the longest name.
    bytes.tensors += specs.emplace_back(TensorSpec{tensor->name, DType::bf16, tensor->shape}).bytes();
  }
  for (const SourceTensor* tensor : matrices) {
    const QuantizedLayout widest = widest_layout(tensor->rows(), tensor->cols());
    for (OutputTensors& output : matrix_outputs(tensor->matrix_name(), widest, {})) {
      for (TensorSpec& spec : output.specs) specs.push_back(std::move(spec));
    }
  }
  bytes.headers =
      header_bytes(specs, shard_metadata()) + static_cast<int64_t>(plan_shards(specs).shards.size()) * kShardOverhead;
  return bytes;
}

WriteReport SafetensorsTarget::write(const Export& what, const OutputPlace& out, const WriteOptions& options,
                                     Progress* progress) const {
  check_plan(what);
  Contents contents{what.model, what.quantize, plain_dtype(what.quantize), {}, {}};
  FolderContents folder;
  std::vector<std::string> notes;
  std::vector<const SourceTensor*> planned;
  int64_t matrix_bytes = 0;
  for (const auto& [tensor, layout, make] : what.matrices) {
    auto outputs = matrix_outputs(tensor->matrix_name(), layout, make);
    matrix_bytes += bytes_of(outputs);
    for (OutputTensors& output : outputs) folder.tensors.push_back(std::move(output));
    contents.matrices.emplace_back(tensor, layout);
    planned.push_back(tensor);
  }
  contents.kept = kept_tensors(what.model, planned, notes);
  for (const SourceTensor* tensor : contents.kept) {
    OutputTensors output = plain_output(what.model, *tensor, contents.dtype, NotFinite::refuse, notes);
    output.specs.front().name = tensor->name;
    folder.tensors.push_back(std::move(output));
  }
  std::stable_sort(folder.tensors.begin(), folder.tensors.end(),
                   [](const auto& a, const auto& b) { return element_bytes(a) > element_bytes(b); });
  folder.files = config_files(contents);
  folder.files.emplace_back(kPlanName, what.plan);
  folder.key = what.key;
  folder.metadata = shard_metadata();
  folder.ending = shard_ending();
  folder.files_of_layout = [&](const ShardLayout& layout) { return layout_files(contents, layout); };
  auto report =
      write_model_folder(what.model, folder, OutputFolder(out.path, out.overwrite, out.inputs), options, progress);
  report.notes.insert(report.notes.end(), notes.begin(), notes.end());
  report.matrix_bytes = matrix_bytes;
  return report;
}

/// A plan from a file may say anything.
void SafetensorsTarget::check_plan(const Export& what) const {
  std::map<std::string, std::string> schemes;
  for (const ExportMatrix& matrix : what.matrices) {
    const QuantizedLayout& layout = matrix.layout;
    const std::string module = matrix.tensor->matrix_name();
    check(what.quantize, {&layout.scheme, 1});
    if (!holds_embeddings() && matrix.tensor->role != TensorRole::matrix) {
      throw Error(ErrorCode::usage, operation(), fmt::format("'{}' in {}", module, layout.scheme.name()),
                  "projections of layers: embedding and output matrix stay as they are");
    }
    if (!holds(layout.scheme, what.quantize, layout.rows, layout.cols)) {
      throw Error(ErrorCode::usage, operation(),
                  fmt::format("'{}', {} x {}, in {}", module, layout.rows, layout.cols, layout.scheme.name()),
                  holds_what());
    }
    schemes[module] = layout.scheme.name();
  }
  check_fused(what.model, schemes, ties(), operation());
}

/// All but the planned ones, each of which has to be among the model's tensors.
std::vector<const SourceTensor*> SafetensorsTarget::kept_tensors(const ModelSource& model,
                                                                 const std::vector<const SourceTensor*>& planned,
                                                                 std::vector<std::string>& notes) const {
  std::unordered_set<const SourceTensor*> quantized(planned.begin(), planned.end());
  std::vector<const SourceTensor*> kept;
  for (const SourceTensor* tensor : model_tensors(model, notes)) {
    if (quantized.erase(tensor) == 0) kept.push_back(tensor);
  }
  for (const SourceTensor* tensor : planned) {
    if (!quantized.contains(tensor)) continue;
    throw Error(ErrorCode::unsupported, operation(),
                fmt::format("matrix '{}', which the runtime's class of the model has not", tensor->matrix_name()),
                "--skip, which leaves the matrix out");
  }
  return kept;
}

}  // namespace mxq
