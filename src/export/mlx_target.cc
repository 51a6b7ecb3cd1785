// A folder for mlx-lm: each matrix with bits and groups of its own, a scale and a bias for each group.
#include <algorithm>
#include <map>
#include <utility>

#include "base/foreign_dtype.h"
#include "export/bias_groups.h"
#include "export/mlx_model.h"
#include "format/mlx_config.h"

namespace mxq {

namespace {

constexpr int64_t kWord = 32;  // bits of an element of codes

class MlxTarget final : public BiasGroupsTarget {
 public:
  std::string_view name() const override { return "mlx"; }
  bool plans_embeddings() const override { return true; }

  void check(const QuantizeOptions& options, std::span<const Scheme> schemes) const override {
    BiasGroupsTarget::check(options, schemes);
    if (options.fit == Fit::awq) refuse("fit", fit_name(options.fit), "gptq, mse, hqq or rtn");
  }

  void check_model(const ModelSource& model) const override {
    std::vector<std::string> notes;
    mlx_tensors(model, notes);
    mlx_config_json(model, DType::f16);
  }

 protected:
  /// Codes as MLX names and shapes them; the bytes are those of the affine family's parts.
  std::vector<OutputTensors> matrix_outputs(const std::string& name, const QuantizedLayout& layout,
                                            std::function<QuantizedMatrix()> make) const override {
    OutputTensors output = quantized_output(name, layout, std::move(make));
    const int64_t words = layout.cols * layout.scheme.bits / kWord, groups = layout.cols / layout.scheme.group;
    const DType half = float_dtype(layout.metadata);
    output.specs = {{name + ".weight", foreign_dtype("U32"), {layout.rows, words}, 4 * layout.rows * words},
                    {name + ".scales", half, {layout.rows, groups}},
                    {name + ".biases", half, {layout.rows, groups}}};
    std::vector<OutputTensors> outputs;
    outputs.push_back(std::move(output));
    return outputs;
  }

  std::vector<const SourceTensor*> model_tensors(const ModelSource& model,
                                                 std::vector<std::string>& notes) const override {
    return mlx_tensors(model, notes);
  }

  std::vector<std::pair<std::string, std::string>> config_files(const Contents& contents) const override {
    MlxQuantization quantization;
    std::map<std::pair<int, int>, int64_t> weights;  // by bits and group
    for (const auto& [tensor, layout] : contents.matrices) {
      const Scheme& scheme = layout.scheme;
      quantization.modules[tensor->matrix_name()] = {scheme.bits, scheme.group, quantization.usual.mode};
      weights[{scheme.bits, scheme.group}] += tensor->elements();
    }
    for (const SourceTensor* tensor : contents.kept) {
      if (tensor->matrix) quantization.modules[tensor->matrix_name()] = std::nullopt;
    }
    if (!weights.empty()) {
      const auto most = std::max_element(weights.begin(), weights.end(),
                                         [](const auto& a, const auto& b) { return a.second < b.second; });
      quantization.usual.bits = most->first.first;
      quantization.usual.group = most->first.second;
    }
    const std::string json = mlx_config_json(contents.model, contents.dtype);
    return {{"config.json", set_mlx_quantization(json, quantization, "config.json")}};
  }

  const SafetensorsMetadata& shard_metadata() const override {
    static const SafetensorsMetadata metadata{{"format", "mlx"}};
    return metadata;
  }
};

}  // namespace

const Target& mlx_target() {
  static const MlxTarget target;
  return target;
}

}  // namespace mxq
