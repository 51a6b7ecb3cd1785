// The mxq checkpoint: safetensors, in which a quantized matrix is a few tensors (docs/reference/checkpoint.md).
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_set>

#include "export/model_folder.h"
#include "export/target.h"
#include "format/hf_config.h"
#include "model/select_matrices.h"
#include "schemes/family.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace {

/// A tensor that a checkpoint holds besides the planned matrices, with the values that it has.
struct KeptTensor {
  const SourceTensor* tensor = nullptr;
  DType dtype = DType::f16;               // where it is stored as floats
  std::optional<int64_t> stored;          // bytes, where it is stored as one of the foreign dtypes
  std::optional<QuantizedLayout> groups;  // where its own blocks are kept (ModelSource::exact_layout)

  std::vector<TensorSpec> specs() const {
    if (groups) return stored_specs(tensor->stored_matrix_name(), *groups);
    return {{tensor->stored_name, dtype, tensor->shape, stored}};
  }
};

/// All tensors that are not among `matrices`, but for a tied copy (find_tied_copy), in the order in which a checkpoint
/// stores them: floats first, wide dtypes before narrow ones, so that each is aligned.
std::vector<KeptTensor> kept_tensors(const ModelSource& model, const std::vector<const SourceTensor*>& matrices) {
  const std::unordered_set<const SourceTensor*> quantized(matrices.begin(), matrices.end());
  const TiedCopy tied = find_tied_copy(model);
  std::vector<KeptTensor> kept;
  for (const auto& tensor : model.tensors()) {
    if (quantized.contains(&tensor) || &tensor == tied.copy) continue;
    const auto groups = model.exact_layout(tensor);
    kept.push_back({&tensor, groups ? DType::u8 : model.output_dtype(tensor), foreign_bytes(model, tensor), groups});
  }
  std::stable_sort(kept.begin(), kept.end(), [](const KeptTensor& a, const KeptTensor& b) {
    return dtype_block_bytes(a.dtype) > dtype_block_bytes(b.dtype);
  });
  return kept;
}

bool is_plain_float(DType dtype) {
  return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

/// The dtype of a weight before it was quantized, or F16 for GGUF's blocks, which had another before that.
DType original_dtype(const ModelSource& model, const SourceTensor& tensor) {
  const SourceTensor& original = *model.find(tensor.name);
  if (!is_plain_float(original.dtype)) return DType::f16;
  return model.output_dtype(original);
}

/// Notes in `config` the dtype that its matrices had: the most frequent one once, the others with their matrices.
void record_dtypes(const ModelSource& model, QuantizationConfig& config) {
  std::map<DType, size_t> counts;
  std::vector<DType> dtypes;
  for (const auto& matrix : config.matrices) {
    dtypes.push_back(original_dtype(model, *model.find(matrix.name + ".weight")));
    ++counts[dtypes.back()];
  }
  if (dtypes.empty()) return;
  const DType usual = std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
                        return a.second < b.second;
                      })->first;
  config.dtype = dtype_name(usual);
  for (size_t i = 0; i < dtypes.size(); ++i) {
    if (dtypes[i] != usual) config.matrices[i].dtype = dtype_name(dtypes[i]);
  }
}

/// What reading a matrix takes to know; axis and metadata are said where they are not the config's.
QuantizationConfig::Matrix describe(const SourceTensor& tensor, const QuantizedLayout& layout) {
  return {tensor.stored_matrix_name(),
          layout.scheme.name(),
          layout.rows,
          layout.cols,
          layout.has_column_scales,
          layout.rotated,
          {},
          {},
          {}};
}

class MxqTarget final : public FolderTarget {
 public:
  std::string_view name() const override { return "mxq"; }

  bool holds(const Scheme& scheme, const QuantizeOptions&, int64_t, int64_t cols) const override {
    return cols % family_of(scheme.family).block_columns() == 0;
  }

  int64_t matrix_bytes(const Scheme& scheme, const QuantizeOptions& options, int64_t rows,
                       int64_t cols) const override {
    return storage_bytes(scheme, options, rows, cols);
  }

  RestBytes rest(const ModelSource& model, const std::vector<const SourceTensor*>& matrices) const override {
    RestBytes bytes;
    std::vector<TensorSpec> specs;
    for (const auto& kept : kept_tensors(model, matrices)) {
      if (kept.groups) bytes.largest_groups = std::max(bytes.largest_groups, model.stored_bytes(*kept.tensor));
      for (auto& spec : kept.specs()) {
        bytes.tensors += spec.bytes();
        specs.push_back(std::move(spec));
      }
    }
    for (const auto* tensor : matrices) {
      // The scheme of the most bytes has the offsets of the most digits.
      const QuantizedLayout widest{tensor->rows(), tensor->cols(), {8, 32}, 1, Metadata::q8, true};
      for (auto& spec : stored_specs(tensor->stored_matrix_name(), widest)) specs.push_back(std::move(spec));
    }
    bytes.headers = header_bytes(specs) + static_cast<int64_t>(plan_shards(specs).shards.size()) * kShardOverhead;
    return bytes;
  }

  WriteReport write(const Export& what, const OutputPlace& out, const WriteOptions& options,
                    Progress* progress) const override {
    const ModelSource& model = what.model;
    FolderContents contents;
    QuantizationConfig config;
    config.fit = fit_name(what.quantize.fit);
    config.axis = what.quantize.axis;
    config.metadata = metadata_name(what.quantize.metadata);
    std::vector<std::string> notes;
    std::vector<const SourceTensor*> planned;
    for (const auto& matrix : what.matrices) planned.push_back(matrix.tensor);
    for (const auto& kept : kept_tensors(model, planned)) add_kept(model, kept, contents, config, notes);
    const TiedCopy tied = find_tied_copy(model);
    if (tied.copy != nullptr && std::find(planned.begin(), planned.end(), tied.copy) == planned.end()) {
      config.copies.emplace_back(tied.copy->stored_name, tied.original->stored_name);
    }
    int64_t matrix_bytes = 0;
    for (const auto& [tensor, layout, make] : what.matrices) {
      contents.tensors.push_back(quantized_output(tensor->stored_matrix_name(), layout, make));
      config.matrices.push_back(describe(*tensor, layout));
      matrix_bytes += layout.total_bytes();
    }
    record_dtypes(what.original, config);
    contents.files = {{"config.json", set_quantization_config(model.config_json(), config, "config.json")},
                      {kPlanName, what.plan}};
    contents.key = what.key;
    auto report =
        write_model_folder(model, contents, OutputFolder(out.path, out.overwrite, out.inputs), options, progress);
    report.notes.insert(report.notes.end(), notes.begin(), notes.end());
    report.matrix_bytes = matrix_bytes;
    return report;
  }

 private:
  static void add_kept(const ModelSource& model, const KeptTensor& kept, FolderContents& contents,
                       QuantizationConfig& config, std::vector<std::string>& notes) {
    const SourceTensor& tensor = *kept.tensor;
    if (!kept.groups) {
      contents.tensors.push_back(plain_output(model, tensor, kept.dtype, NotFinite::refuse, notes));
      return;
    }
    contents.tensors.push_back(quantized_output(tensor.stored_matrix_name(), *kept.groups, [&model, &tensor] {
      QuantizedMatrix groups = model.exact_groups(tensor);
      model.done(tensor);
      return groups;
    }));
    auto& described = config.matrices.emplace_back(describe(tensor, *kept.groups));
    described.axis = kept.groups->axis;
    described.metadata = std::string(metadata_name(kept.groups->metadata));
  }
};

}  // namespace

const Target& mxq_target() {
  static const MxqTarget target;
  return target;
}

}  // namespace mxq
