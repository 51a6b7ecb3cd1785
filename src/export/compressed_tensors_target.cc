// A folder for compressed-tensors (format pack-quantized), as transformers and vLLM load it: weights alone, symmetric.
// Read from compressed-tensors 0.20.1 (compressors/pack_quantized, quantization/) and vLLM.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "export/transformers_model.h"
#include "export/transformers_target.h"
#include "export/zero_codes.h"
#include "format/compressed_tensors_config.h"

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

/// The bytes are those of the affine family's codes and scales: rows are whole words.
std::vector<TensorSpec> codes_specs(const std::string& name, const QuantizedLayout& layout) {
  return {{name + ".weight_packed", DType::i32, {layout.rows, layout.cols * layout.scheme.bits / kWord}},
          {name + ".weight_scale", float_dtype(layout.metadata), {layout.rows, layout.cols / layout.scheme.group}}};
}

class CompressedTensorsTarget final : public TransformersTarget {
 public:
  std::string_view name() const override { return "compressed-tensors"; }

  std::optional<ZeroPoint> usual_zero_point() const override { return ZeroPoint::symmetric; }

  /// An odd number of scales would leave what is stored behind them where no reader of I32 looks.
  bool holds(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols) const override {
    return TransformersTarget::holds(scheme, options, rows, cols) && rows * (cols / scheme.group) % 2 == 0;
  }

 protected:
  std::vector<ZeroPoint> zero_points() const override { return {ZeroPoint::symmetric}; }
  std::string holds_what() const override { return "groups that divide its columns, an even number of them"; }

  std::vector<OutputTensors> matrix_outputs(const std::string& name, const QuantizedLayout& layout,
                                            std::function<QuantizedMatrix()> make) const override {
    std::vector<OutputTensors> outputs;
    outputs.push_back(shape_output(name, layout));
    outputs.push_back(symmetric_output(name, layout, codes_specs(name, layout), std::move(make), kOperation));
    return outputs;
  }

  std::vector<std::pair<std::string, std::string>> config_files(const Contents& contents) const override {
    std::map<std::pair<int, int>, std::vector<std::string>> modules;  // by bits and group
    for (const auto& [tensor, layout] : contents.matrices) {
      modules[{layout.scheme.bits, layout.scheme.group}].push_back(tensor->matrix_name());
    }
    CompressedTensorsConfig config;
    config.ignore = plain_modules(contents.kept);
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
