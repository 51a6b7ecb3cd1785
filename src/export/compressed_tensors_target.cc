// A folder for compressed-tensors (format pack-quantized), as transformers and vLLM load it: weights alone, symmetric.
// Read from compressed-tensors 0.20.1 (compressors/pack_quantized, quantization/) and vLLM.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "base/half.h"
#include "export/bias_groups.h"
#include "export/model_folder.h"
#include "export/target.h"
#include "format/compressed_tensors_config.h"
#include "format/hf_config.h"
#include "format/python_json.h"
#include "model/arch/architecture.h"
#include "model/select_matrices.h"
#include "mxq/error.h"
#include "schemes/part_bytes.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "write compressed-tensors";
constexpr const char* kHead = "lm_head";
constexpr int64_t kWord = 32;  // bits of an element of codes
/// Those whose linear layers are modules of their own in transformers and vLLM, or fused in the files already.
constexpr std::array<std::string_view, 12> kArchitectures{"llama",  "mistral",     "qwen2", "qwen3",
                                                          "gemma2", "gemma3_text", "phi3",  "smollm3",
                                                          "olmo2",  "granite",     "glm4",  "cohere2"};

/// Readers want elements of I64 at multiples of 8 bytes, of I32 at multiples of 4. So all shapes stand first, matrices
/// have an even number of scales, and what is not quantized comes last.
TensorSpec shape_spec(const std::string& name) {
  return {name + ".weight_shape", DType::i64, {2}};
}
/// The bytes are those of the affine family's codes and scales: rows are whole words.
std::vector<TensorSpec> matrix_specs(const std::string& name, const QuantizedLayout& layout) {
  return {{name + ".weight_packed", DType::i32, {layout.rows, layout.cols * layout.scheme.bits / kWord}},
          {name + ".weight_scale", float_dtype(layout.metadata), {layout.rows, layout.cols / layout.scheme.group}}};
}

int64_t bytes_of(const QuantizedLayout& layout) {
  int64_t bytes = shape_spec("").bytes();
  for (const TensorSpec& spec : matrix_specs("", layout)) bytes += spec.bytes();
  return bytes;
}

OutputTensors shape_output(const std::string& name, const QuantizedLayout& layout) {
  OutputTensors output;
  output.specs = {shape_spec(name)};
  output.write = [rows = layout.rows, cols = layout.cols](SafetensorsWriter& writer) {
    const int64_t shape[2] = {rows, cols};
    writer.write(std::as_bytes(std::span(shape)));
  };
  return output;
}

/// Throws where a bias is another than that of the zero 2^(b - 1), which is what readers take.
void check_zeros(const std::string& name, const QuantizedMatrix& matrix) {
  const auto scales = matrix.part("scales"), biases = matrix.part("biases");
  const bool bf16 = matrix.layout.metadata == Metadata::bf16_bias;
  const auto zero = static_cast<float>(1 << (matrix.layout.scheme.bits - 1));
  const auto value = [&](std::span<const std::byte> part, int64_t i) {
    const auto bits = get_value<uint16_t>(part, i);
    return bf16 ? f32_from_bf16(bits) : f32_from_f16(bits);
  };
  for (int64_t i = 0; i < matrix.layout.groups(); ++i) {
    const float scale = value(scales, i), bias = value(biases, i);
    if (bias == -zero * scale) continue;
    throw Error(ErrorCode::unsupported, kOperation,
                fmt::format("group {} of '{}' has the zero {}", i, name, -bias / scale),
                fmt::format("{}, the zero of all groups of {} bits", zero, matrix.layout.scheme.bits));
  }
}

OutputTensors matrix_output(const std::string& name, const QuantizedLayout& layout,
                            std::function<QuantizedMatrix()> make) {
  OutputTensors output;
  output.specs = matrix_specs(name, layout);
  output.work = layout.rows * layout.cols;
  output.write = [name, make = std::move(make)](SafetensorsWriter& writer) {
    const QuantizedMatrix matrix = make();
    check_numbers(name, matrix.view());
    check_zeros(name, matrix);
    writer.write(matrix.part("codes"));
    writer.write(matrix.part("scales"));
  };
  return output;
}

/// All that the model reads but for a tied copy; `notes` get a sentence where others are left out.
std::vector<const SourceTensor*> model_tensors(const ModelSource& model, std::vector<std::string>& notes) {
  const TiedCopy tied = find_tied_copy(model);
  std::vector<const SourceTensor*> kept;
  std::vector<std::string> left;
  for (const SourceTensor& tensor : model.tensors()) {
    if (&tensor == tied.copy || tensor.name.ends_with(".rotary_emb.inv_freq")) continue;
    if (!model.reads(tensor)) {
      left.push_back(tensor.stored_name);
      continue;
    }
    if (tensor.role == TensorRole::head && model.config()->tie_word_embeddings) {
      throw Error(ErrorCode::unsupported, kOperation,
                  fmt::format("'{}' beside the embedding of a model with 'tie_word_embeddings'", tensor.stored_name),
                  "one of the two, or 'tie_word_embeddings' false");
    }
    kept.push_back(&tensor);
  }
  if (!left.empty()) {
    notes.push_back(
        fmt::format("{} tensors, such as '{}', that the model does not read, are left out", left.size(), left.front()));
  }
  return kept;
}

/// vLLM computes some modules with one matrix: all or none of them are quantized, in one scheme.
void check_fused(const ModelSource& model, const std::map<std::string, std::string>& schemes) {
  const auto scheme_of = [&](const std::string& name) {
    const auto found = schemes.find(name);
    return found == schemes.end() ? std::string("16 bits") : found->second;
  };
  for (const FusedModules& fused : fused_modules()) {
    std::map<std::string, std::string> first;  // by what stands before the module: the name of the first
    for (const SourceTensor& tensor : model.tensors()) {
      if (!tensor.matrix || tensor.role != TensorRole::matrix) continue;
      const std::string name = tensor.matrix_name();
      const size_t dot = name.rfind('.');
      if (dot == std::string::npos || std::find(fused.modules.begin(), fused.modules.end(),
                                                std::string_view(name).substr(dot + 1)) == fused.modules.end()) {
        continue;
      }
      const std::string& other = first.try_emplace(name.substr(0, dot), name).first->second;
      if (scheme_of(name) == scheme_of(other)) continue;
      throw Error(ErrorCode::usage, kOperation,
                  fmt::format("'{}' in {} and '{}' in {}", other, scheme_of(other), name, scheme_of(name)),
                  "one scheme for modules that vLLM fuses");
    }
  }
}

class CompressedTensorsTarget final : public FolderTarget {
 public:
  std::string_view name() const override { return "compressed-tensors"; }

  std::vector<Scheme> usual_schemes() const override { return wide_schemes(); }
  std::optional<Normalize> usual_normalize() const override { return Normalize::none; }
  std::optional<ZeroPoint> usual_zero_point() const override { return ZeroPoint::symmetric; }
  /// Weights that are not rotated have columns that stand out (docs/decisions/0022). Groups stay in place.
  std::optional<ColumnOrder> usual_column_order() const override { return ColumnOrder::diagonal; }
  std::optional<Metadata> usual_metadata(const ModelSource* model) const override { return usual_bias_metadata(model); }
  bool holds_embeddings() const override { return false; }
  std::vector<std::string_view> ties() const override { return {"qkv", "gate_up"}; }

  void check(const QuantizeOptions& options, std::span<const Scheme> schemes) const override {
    for (const Scheme& scheme : schemes) {
      if (!is_wide(scheme)) refuse("schemes", scheme.name(), kWideSchemes);
    }
    if (options.fit != Fit::gptq && options.fit != Fit::mse) refuse("fit", fit_name(options.fit), "gptq or mse");
    if (options.normalize != Normalize::none) refuse("normalize", normalize_name(options.normalize), "none");
    if (options.axis != 1) refuse("axis", "0", "1");
    if (!has_bias(options.metadata)) {
      refuse("metadata", metadata_name(options.metadata), "f16-bias (scales in F16) or bf16-bias (in BF16)");
    }
    if (options.feedback.zero_point != ZeroPoint::symmetric) {
      refuse("zero-point", zero_point_name(options.feedback.zero_point), "symmetric");
    }
  }

  void check_model(const ModelSource& model) const override {
    const auto config = parse_python_json_in_order(model.config_json(), "read config.json");
    const auto found = config.find("model_type");
    const std::string type = found != config.end() && found->is_string() ? found->get<std::string>() : "";
    if (type != model.architecture() ||
        std::find(kArchitectures.begin(), kArchitectures.end(), type) == kArchitectures.end()) {
      throw Error(ErrorCode::unsupported, kOperation, fmt::format("a model of the type '{}'", type),
                  fmt::format("{}", fmt::join(kArchitectures, ", ")));
    }
    std::vector<std::string> notes;
    model_tensors(model, notes);
  }

  /// An odd number of scales would leave what is stored behind them where no reader of I32 looks.
  bool holds(const Scheme& scheme, const QuantizeOptions&, int64_t rows, int64_t cols) const override {
    return is_wide(scheme) && cols % scheme.group == 0 && rows * (cols / scheme.group) % 2 == 0;
  }

  int64_t matrix_bytes(const Scheme& scheme, const QuantizeOptions& options, int64_t rows,
                       int64_t cols) const override {
    return bytes_of(quantized_layout(scheme, options, rows, cols));
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
      specs.push_back(shape_spec(tensor->matrix_name()));
    }
    bytes.headers = header_bytes(specs) + static_cast<int64_t>(plan_shards(specs).shards.size()) * kShardOverhead;
    return bytes;
  }

  WriteReport write(const Export& what, const OutputPlace& out, const WriteOptions& options,
                    Progress* progress) const override {
    const ModelSource& model = what.model;
    check_plan(what);
    const DType dtype = float_dtype(what.quantize.metadata);
    std::vector<std::string> notes;
    FolderContents contents;
    std::vector<const SourceTensor*> planned;
    std::map<std::pair<int, int>, std::vector<std::string>> modules;  // by bits and group
    int64_t matrix_bytes = 0;
    for (const auto& [tensor, layout, make] : what.matrices) {
      contents.tensors.push_back(shape_output(tensor->matrix_name(), layout));
    }
    for (const auto& [tensor, layout, make] : what.matrices) {
      contents.tensors.push_back(matrix_output(tensor->matrix_name(), layout, make));
      planned.push_back(tensor);
      modules[{layout.scheme.bits, layout.scheme.group}].push_back(tensor->matrix_name());
      matrix_bytes += bytes_of(layout);
    }
    CompressedTensorsConfig config;
    for (const SourceTensor* tensor : kept_tensors(model, planned, notes)) {
      OutputTensors output = plain_output(model, *tensor, dtype, NotFinite::refuse, notes);
      output.specs.front().name = tensor->name;
      contents.tensors.push_back(std::move(output));
      if (tensor->matrix && tensor->role == TensorRole::matrix) config.ignore.push_back(tensor->matrix_name());
    }
    config.ignore.push_back(kHead);  // a module of vLLM even where it is the embedding
    for (auto& [scheme, names] : modules) {
      std::sort(names.begin(), names.end());
      config.groups.push_back({{scheme.first, scheme.second, true}, std::move(names)});
    }
    const std::string json =
        set_torch_dtype(model.config_json(), dtype == DType::bf16 ? "bfloat16" : "float16", "config.json");
    contents.files = {{"config.json", set_compressed_tensors(json, config, "config.json")}, {kPlanName, what.plan}};
    contents.key = what.key;
    auto report =
        write_model_folder(model, contents, OutputFolder(out.path, out.overwrite, out.inputs), options, progress);
    report.notes.insert(report.notes.end(), notes.begin(), notes.end());
    report.matrix_bytes = matrix_bytes;
    return report;
  }

 private:
  /// A plan from a file may say anything.
  void check_plan(const Export& what) const {
    std::map<std::string, std::string> schemes;
    for (const ExportMatrix& matrix : what.matrices) {
      const QuantizedLayout& layout = matrix.layout;
      const std::string name = matrix.tensor->matrix_name();
      check(what.quantize, {&layout.scheme, 1});
      if (matrix.tensor->role != TensorRole::matrix) {
        throw Error(ErrorCode::usage, kOperation, fmt::format("'{}' in {}", name, layout.scheme.name()),
                    "projections of layers: embedding and output matrix stay as they are");
      }
      if (!holds(layout.scheme, what.quantize, layout.rows, layout.cols)) {
        throw Error(ErrorCode::usage, kOperation,
                    fmt::format("'{}', {} x {}, in {}", name, layout.rows, layout.cols, layout.scheme.name()),
                    "groups that divide its columns, an even number of them");
      }
      schemes[name] = layout.scheme.name();
    }
    check_fused(what.model, schemes);
  }

  /// Of what the model reads, all but the planned ones.
  static std::vector<const SourceTensor*> kept_tensors(const ModelSource& model,
                                                       const std::vector<const SourceTensor*>& planned,
                                                       std::vector<std::string>& notes) {
    const std::unordered_set<const SourceTensor*> quantized(planned.begin(), planned.end());
    std::vector<const SourceTensor*> kept = model_tensors(model, notes);
    std::erase_if(kept, [&](const SourceTensor* tensor) { return quantized.contains(tensor); });
    return kept;
  }
};

}  // namespace

const Target& compressed_tensors_target() {
  static const CompressedTensorsTarget target;
  return target;
}

}  // namespace mxq
