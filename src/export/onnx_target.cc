// A folder for onnxruntime and onnxruntime-genai: model.onnx, a graph that mxq writes itself, and the weights beside
// it, in files that are safetensors too.
#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "export/genai_config.h"
#include "export/safetensors_target.h"
#include "export/transformers_model.h"
#include "export/zero_codes.h"
#include "model/onnx_graph.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "write onnx";
constexpr const char* kConfig = "config.json";
/// What is not quantized, and scales. onnxruntime computes in F32 all the same.
constexpr DType kPlain = DType::f16;

/// The configuration as whoever reads the folder makes it out.
ModelConfig written_config(const ModelSource& model) {
  return parse_hf_config(transformers_config_json(model, kPlain), kConfig);
}

OnnxWeight onnx_weight(const SourceTensor& tensor, std::optional<Scheme> scheme) {
  return {tensor.name, kPlain, tensor.shape, std::move(scheme)};
}

std::vector<TensorSpec> matrix_specs(const std::string& name, const QuantizedLayout& layout) {
  const OnnxWeight weight{name + ".weight", kPlain, {layout.rows, layout.cols}, layout.scheme};
  const auto tensors = onnx_initializers(weight);
  return {{tensors[0].name, DType::u8, tensors[0].shape}, {tensors[1].name, kPlain, tensors[1].shape}};
}

class OnnxTarget final : public SafetensorsTarget {
 public:
  std::string_view name() const override { return "onnx"; }

  std::vector<Scheme> usual_schemes() const override {
    std::vector<Scheme> all;
    for (const int bits : {2, 4, 8}) {
      for (const int group : {16, 32, 64, 128, 256}) {
        if (is_onnx_scheme({bits, group})) all.push_back({bits, group});
      }
    }
    return all;
  }
  std::optional<Normalize> usual_normalize() const override { return Normalize::none; }
  std::optional<Metadata> usual_metadata(const ModelSource* /*model*/) const override { return Metadata::f16_bias; }
  std::optional<ZeroPoint> usual_zero_point() const override { return ZeroPoint::symmetric; }
  /// Weights that are not rotated have columns that stand out (docs/decisions/0022). Groups stay in place.
  std::optional<ColumnOrder> usual_column_order() const override { return ColumnOrder::diagonal; }
  bool plans_embeddings() const override { return true; }

  void check(const QuantizeOptions& options, std::span<const Scheme> schemes) const override {
    for (const Scheme& scheme : schemes) {
      if (!is_onnx_scheme(scheme)) refuse("schemes", scheme.name(), onnx_schemes());
    }
    if (options.fit != Fit::gptq && options.fit != Fit::mse) refuse("fit", fit_name(options.fit), "gptq or mse");
    if (options.normalize != Normalize::none) refuse("normalize", normalize_name(options.normalize), "none");
    if (options.axis != 1) refuse("axis", "0", "1");
    if (options.metadata != Metadata::f16_bias) {
      refuse("metadata", metadata_name(options.metadata), "f16-bias (scales in F16)");
    }
    if (options.feedback.zero_point != ZeroPoint::symmetric) {
      refuse("zero-point", zero_point_name(options.feedback.zero_point), "symmetric");
    }
  }

  void check_model(const ModelSource& model) const override {
    check_transformers_model(model, kOperation);
    std::vector<std::string> notes;
    model_tensors(model, notes);
    check_onnx_config(written_config(model), kOperation);
  }

  bool holds(const Scheme& scheme, const QuantizeOptions& /*options*/, int64_t /*rows*/, int64_t cols) const override {
    return is_onnx_scheme(scheme) && cols % scheme.group == 0;
  }

  RestBytes rest(const ModelSource& model, const std::vector<const SourceTensor*>& matrices) const override {
    RestBytes bytes = SafetensorsTarget::rest(model, matrices);
    // Numbers of groups are largest with the smallest, offsets and lengths at the end of what a file can have.
    constexpr Scheme kMostGroups{4, 16};
    constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kMoreOfScheme = 16;
    std::vector<OnnxWeight> weights;
    std::vector<std::string> notes;
    for (const SourceTensor* tensor : model_tensors(model, notes)) {
      const bool planned = std::find(matrices.begin(), matrices.end(), tensor) != matrices.end();
      weights.push_back(onnx_weight(*tensor, planned ? std::optional(kMostGroups) : std::nullopt));
    }
    OnnxModel graph = onnx_graph(written_config(model), weights, kOperation);
    for (OnnxTensor& tensor : graph.initializers) {
      if (std::get<std::string>(tensor.data).empty()) {
        tensor.data = OnnxTensor::Place{"model-00001-of-00001" + std::string(kOnnxDataEnding), kMost, kMost};
      }
    }
    bytes.headers += std::ssize(print_onnx(graph)) + kMoreOfScheme * std::ssize(matrices);
    return bytes;
  }

 protected:
  std::vector<OutputTensors> matrix_outputs(const std::string& name, const QuantizedLayout& layout,
                                            std::function<QuantizedMatrix()> make) const override {
    std::vector<OutputTensors> outputs;
    outputs.push_back(symmetric_output(name, layout, matrix_specs(name, layout), std::move(make), kOperation));
    return outputs;
  }
  QuantizedLayout widest_layout(int64_t rows, int64_t cols) const override {
    return {rows, cols, {8, 16}, 1, Metadata::f16_bias};
  }
  std::vector<const SourceTensor*> model_tensors(const ModelSource& model,
                                                 std::vector<std::string>& notes) const override {
    return transformers_tensors(model, kOperation, notes);
  }
  DType plain_dtype(const QuantizeOptions& /*options*/) const override { return kPlain; }
  std::string holds_what() const override { return "groups that divide its columns"; }
  std::string_view shard_ending() const override { return kOnnxDataEnding; }

  std::vector<std::pair<std::string, std::string>> config_files(const Contents& contents) const override {
    return {{kConfig, transformers_config_json(contents.model, kPlain)},
            {"genai_config.json", genai_config_json(written_config(contents.model), std::string(kOnnxFile))}};
  }

  std::vector<std::pair<std::string, std::string>> layout_files(const Contents& contents,
                                                                const ShardLayout& layout) const override {
    std::vector<OnnxWeight> weights;
    for (const auto& [tensor, of] : contents.matrices) weights.push_back(onnx_weight(*tensor, of.scheme));
    for (const SourceTensor* tensor : contents.kept) weights.push_back(onnx_weight(*tensor, std::nullopt));
    OnnxModel graph = onnx_graph(written_config(contents.model), weights, kOperation);
    std::map<std::string, OnnxTensor::Place> places;
    for (const Shard& shard : layout.shards) {
      int64_t at = header_bytes(shard.tensors, shard_metadata());
      for (const TensorSpec& spec : shard.tensors) {
        const int64_t bytes = spec.bytes();
        places[spec.name] = {shard.file, at, bytes};
        at += bytes;
      }
    }
    for (OnnxTensor& tensor : graph.initializers) {
      if (const auto place = places.find(tensor.name); place != places.end()) tensor.data = place->second;
    }
    return {{std::string(kOnnxFile), print_onnx(graph)}};
  }
};

}  // namespace

const Target& onnx_target() {
  static const OnnxTarget target;
  return target;
}

}  // namespace mxq
