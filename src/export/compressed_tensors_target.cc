// A folder for compressed-tensors (format pack-quantized), as transformers and vLLM load it: weights alone, symmetric.
// Read from compressed-tensors 0.20.1 (compressors/pack_quantized, quantization/) and vLLM.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/half.h"
#include "export/bias_groups.h"
#include "export/transformers_model.h"
#include "format/compressed_tensors_config.h"
#include "mxq/error.h"
#include "schemes/part_bytes.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "write compressed-tensors";
constexpr const char* kHead = "lm_head";
constexpr int64_t kWord = 32;  // bits of an element of codes

OutputTensors shape_output(const std::string& name, const QuantizedLayout& layout) {
  OutputTensors output;
  output.specs = {{name + ".weight_shape", DType::i64, {2}}};
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

/// The bytes are those of the affine family's codes and scales: rows are whole words.
OutputTensors codes_output(const std::string& name, const QuantizedLayout& layout,
                           std::function<QuantizedMatrix()> make) {
  OutputTensors output;
  output.specs = {
      {name + ".weight_packed", DType::i32, {layout.rows, layout.cols * layout.scheme.bits / kWord}},
      {name + ".weight_scale", float_dtype(layout.metadata), {layout.rows, layout.cols / layout.scheme.group}}};
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

class CompressedTensorsTarget final : public BiasGroupsTarget {
 public:
  std::string_view name() const override { return "compressed-tensors"; }

  std::optional<ZeroPoint> usual_zero_point() const override { return ZeroPoint::symmetric; }
  /// Weights that are not rotated have columns that stand out (docs/decisions/0022). Groups stay in place.
  std::optional<ColumnOrder> usual_column_order() const override { return ColumnOrder::diagonal; }
  bool holds_embeddings() const override { return false; }
  /// vLLM computes them with one matrix.
  std::vector<std::string_view> ties() const override { return {"qkv", "gate_up"}; }

  void check(const QuantizeOptions& options, std::span<const Scheme> schemes) const override {
    BiasGroupsTarget::check(options, schemes);
    if (options.fit != Fit::gptq && options.fit != Fit::mse) refuse("fit", fit_name(options.fit), "gptq or mse");
    if (options.feedback.zero_point != ZeroPoint::symmetric) {
      refuse("zero-point", zero_point_name(options.feedback.zero_point), "symmetric");
    }
  }

  void check_model(const ModelSource& model) const override {
    check_transformers_model(model, kOperation);
    std::vector<std::string> notes;
    model_tensors(model, notes);
  }

  /// An odd number of scales would leave what is stored behind them where no reader of I32 looks.
  bool holds(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols) const override {
    return BiasGroupsTarget::holds(scheme, options, rows, cols) && rows * (cols / scheme.group) % 2 == 0;
  }

 protected:
  std::string holds_what() const override { return "groups that divide its columns, an even number of them"; }

  std::vector<OutputTensors> matrix_outputs(const std::string& name, const QuantizedLayout& layout,
                                            std::function<QuantizedMatrix()> make) const override {
    std::vector<OutputTensors> outputs;
    outputs.push_back(shape_output(name, layout));
    outputs.push_back(codes_output(name, layout, std::move(make)));
    return outputs;
  }

  std::vector<const SourceTensor*> model_tensors(const ModelSource& model,
                                                 std::vector<std::string>& notes) const override {
    return transformers_tensors(model, kOperation, notes);
  }

  std::vector<std::pair<std::string, std::string>> config_files(const Contents& contents) const override {
    std::map<std::pair<int, int>, std::vector<std::string>> modules;  // by bits and group
    for (const auto& [tensor, layout] : contents.matrices) {
      modules[{layout.scheme.bits, layout.scheme.group}].push_back(tensor->matrix_name());
    }
    CompressedTensorsConfig config;
    for (const SourceTensor* tensor : contents.kept) {
      if (tensor->matrix && tensor->role == TensorRole::matrix) config.ignore.push_back(tensor->matrix_name());
    }
    config.ignore.push_back(kHead);  // a module of vLLM even where it is the embedding
    for (auto& [scheme, names] : modules) {
      std::sort(names.begin(), names.end());
      config.groups.push_back({{scheme.first, scheme.second, true}, std::move(names)});
    }
    const std::string json = transformers_config_json(contents.model, contents.dtype);
    return {{"config.json", set_compressed_tensors(json, config, "config.json")}};
  }
};

}  // namespace

const Target& compressed_tensors_target() {
  static const CompressedTensorsTarget target;
  return target;
}

}  // namespace mxq
