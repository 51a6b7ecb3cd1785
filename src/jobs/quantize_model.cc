#include "mxq/quantize_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "base/stopwatch.h"
#include "calibrate/awq_fit.h"
#include "calibrate/calibrated_fit.h"
#include "calibrate/token_weights.h"
#include "export/model_folder.h"
#include "export/stack_output.h"
#include "export/target.h"
#include "format/hf_config.h"
#include "jobs/match_plan.h"
#include "model/expert_stacks.h"
#include "model/model_state.h"
#include "model/select_matrices.h"
#include "model/statistics.h"
#include "mxq/error.h"
#include "mxq/measure.h"
#include "mxq/quantized_matrix.h"
#include "mxq/text.h"
#include "schemes/magnitude.h"
#include "schemes/normalize/normalize.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace {

/// Refuses by name a matrix that the scheme cannot hold.
void require_held(const ModelSource& model, const SourceTensor& tensor, const Scheme& scheme,
                  const QuantizeOptions& options) {
  const auto weights = read_finite(model, tensor);
  check_magnitude({weights.data(), tensor.rows(), tensor.cols()}, {&scheme, 1}, tabled(options),
                  fmt::format("quantize '{}'", tensor.matrix_name()));
}

QuantizedMatrix quantize_tensor(const ModelSource& model, const SourceTensor& tensor, const Scheme& scheme,
                                const QuantizeOptions& options) {
  const auto weights = read_finite(model, tensor);
  return quantize_matrix({weights.data(), tensor.rows(), tensor.cols()}, scheme, options);
}

/// The layout was told before the matrix was made, and is what readers go by.
QuantizedMatrix as_told(const SourceTensor& tensor, const QuantizedLayout& layout, QuantizedMatrix made) {
  if (made.layout != layout) {
    throw Error(ErrorCode::unsupported, fmt::format("quantize '{}'", tensor.matrix_name()),
                fmt::format("a matrix {}rotated", made.layout.rotated ? "" : "not "), "the layout that it was to have");
  }
  return made;
}

/// What AWQ makes of a model: another one that computes the same, and its matrices, quantized.
struct Folded {
  Folded(const ModelSource& model, Runner& runner, const TokenSequences& text,
         const std::unordered_map<const SourceTensor*, Scheme>& planned, const QuantizeOptions& options) {
    std::unordered_map<std::string, Scheme> schemes;
    for (const auto& [tensor, scheme] : planned) {
      if (tensor->matrix->in_layer()) schemes.emplace(tensor->name, scheme);
    }
    AwqFit fit = fit_awq(model, runner, text, schemes, options);
    source.emplace(model, std::move(fit.folds));
    matrices = std::move(fit.matrices);
    note = std::move(fit.note);
  }

  std::optional<FoldedSource> source;
  std::unordered_map<std::string, QuantizedMatrix> matrices;
  std::string note;
};

/// As a CalibratedQuantizer hands them out; shards of safetensors come in the order of names, 10 before 2.
void sort_by_layer(std::vector<const SourceTensor*>& matrices) {
  const auto layer = [](const SourceTensor* tensor) {
    return parse_int(tensor->matrix->layer).value_or(std::numeric_limits<int64_t>::max());
  };
  std::stable_sort(matrices.begin(), matrices.end(),
                   [&](const SourceTensor* a, const SourceTensor* b) { return layer(a) < layer(b); });
}

OutputPlace output_place(const std::filesystem::path& model, const std::filesystem::path& out,
                         const WriteOptions& options) {
  InputPaths inputs{{"the model", model}};
  inputs.insert(inputs.end(), options.inputs.begin(), options.inputs.end());
  return {out, options.overwrite, std::move(inputs)};
}

const char* torch_dtype(DType dtype) {
  return dtype == DType::f32 ? "float32" : dtype == DType::f16 ? "float16" : "bfloat16";
}

}  // namespace

void check_output(const std::filesystem::path& model, const std::filesystem::path& out, const WriteOptions& options,
                  const std::string& format) {
  find_target(format).check_output(output_place(model, out, options));
}

WriteReport quantize_model(const Model& opened, const std::filesystem::path& out, const PlanFile& file,
                           const WriteOptions& options, Progress* progress) {
  const Stopwatch watch;
  const Target& target = find_target(file.format);
  const OutputPlace place = output_place(opened.path(), out, options);
  target.check_output(place);
  check_calibration(file.calibration, file.quantize);
  Model::State& state = opened.state();
  const ModelSource* model = &state.source();
  auto schemes = match_plan(*model, file);
  Runner* runner = nullptr;
  CalibrationTokens text;
  if (file.calibration.kind != CalibrationText::Kind::none) {
    runner = &state.runner(state.run(), or_silent(progress));
    text = calibration_tokens(state, *runner, file.calibration, options.cache, or_silent(progress));
  }
  std::optional<Folded> folded;
  if (file.quantize.fit == Fit::awq) {
    folded.emplace(*model, *runner, text.sequences, schemes, file.quantize);
    runner = nullptr;
    model = &*folded->source;
    schemes = match_plan(*model, file);
  }
  std::vector<const SourceTensor*> matrices;
  for (const auto& tensor : model->tensors()) {
    if (schemes.contains(&tensor)) matrices.push_back(&tensor);
  }
  std::optional<CalibratedQuantizer> calibrated;
  if (runner == nullptr) {
    state.unload();
  } else {
    const TokenWeights& weights =
        token_weights(state, *runner, text.sequences, file.quantize.feedback.token_weights, or_silent(progress));
    calibrated.emplace(*model, *runner, text.sequences, weights, schemes, file.quantize);
    sort_by_layer(matrices);
  }

  PlanFile stored = file;
  stored.plan.seconds = 0;  // the same model and budget give the same bytes
  Export what{*model, state.source(), file.quantize, {}, write_plan(stored), {}};
  what.key = fmt::format("quantize {} {} {}", MXQ_VERSION, options.max_shard_bytes, what.plan);
  // A file of text may change between two runs.
  if (!text.sequences.empty()) what.key += nlohmann::json(text.sequences).dump();
  for (const auto* tensor : matrices) {
    const Scheme scheme = schemes.at(tensor);
    QuantizedLayout layout = quantized_layout(scheme, file.quantize, tensor->rows(), tensor->cols());
    const auto read_row = [&](int64_t row, float* to) { model->read_rows(*tensor, row, 1, to); };
    layout.rotated &= !lies_on_grid(layout.rows, layout.cols, read_row, scheme, file.quantize);
    model->done(*tensor);
    const auto make = [&, tensor, scheme] {
      require_held(*model, *tensor, scheme, file.quantize);
      if (calibrated) return calibrated->take(*tensor);
      if (folded) {
        if (auto found = folded->matrices.extract(tensor->name)) return std::move(found.mapped());
      }
      return quantize_tensor(*model, *tensor, scheme, tabled(file.quantize));
    };
    what.matrices.push_back({tensor, layout, [tensor, layout, make] { return as_told(*tensor, layout, make()); }});
  }
  auto report = target.write(what, place, options, progress);
  report.sample = text.health;
  for (const auto& note : {text.note, folded ? folded->note : std::string()}) {
    if (!note.empty()) report.notes.push_back(note);
  }
  if (calibrated) {
    for (auto& note : calibrated->notes()) report.notes.push_back(std::move(note));
  }
  report.seconds = watch.seconds();
  return report;
}

WriteReport dequantize_model(const Model& opened, const std::filesystem::path& out, std::optional<DType> dtype,
                             const WriteOptions& options, Progress* progress) {
  const Stopwatch watch;
  const OutputPlace place = output_place(opened.path(), out, options);
  const OutputFolder folder(place.path, place.overwrite, place.inputs);
  const ModelSource& model = opened.state().source();
  FolderContents contents;
  std::vector<std::string> notes;
  const auto stacks = restored_stacks(model);
  std::unordered_set<const SourceTensor*> in_stacks;
  for (const RestoredStack& stack : stacks) {
    for (const auto& parts : stack.experts) in_stacks.insert(parts.begin(), parts.end());
    contents.tensors.push_back(stack_output(model, stack, dtype, notes));
  }
  for (const auto& tensor : model.tensors()) {
    if (in_stacks.contains(&tensor)) continue;
    // Buffers of integers, masks and whatever else a model keeps stay as they are.
    const bool floats = dtype_is_weight(tensor.dtype);
    contents.tensors.push_back(
        plain_output(model, tensor, dtype && floats ? *dtype : model.output_dtype(tensor), NotFinite::copy, notes));
  }
  if (model.config()) {  // a .safetensors file alone stays without
    const std::string config = set_quantization_config(model.config_json(), std::nullopt, "config.json");
    contents.files = {{"config.json", dtype ? set_torch_dtype(config, torch_dtype(*dtype), "config.json") : config}};
  }
  contents.key = fmt::format("dequantize {} {} {}", MXQ_VERSION, options.max_shard_bytes,
                             dtype ? dtype_name(*dtype) : "as it was");
  auto report = write_model_folder(model, contents, folder, options, progress);
  report.notes.insert(report.notes.end(), notes.begin(), notes.end());
  report.seconds = watch.seconds();
  return report;
}

WeightBytes weight_bytes(const Model& opened) {
  const ModelSource& model = opened.state().source();
  WeightBytes bytes;
  for (const auto& tensor : model.tensors()) {
    if (model.copy_of(tensor) != nullptr) continue;
    bytes.stored += model.stored_bytes(tensor);
    bytes.weights += tensor.elements();
  }
  return bytes;
}

}  // namespace mxq
