// A folder for onnxruntime as mxq writes it: model.onnx says where the weights lie and what is computed with them. That
// it is what mxq's own graph of the same config.json computes is checked node by node.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <memory>
#include <unordered_map>

#include "format/onnx.h"
#include "model/checkpoint_source.h"
#include "model/onnx_graph.h"
#include "model/usual_zeros.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/text.h"
#include "schemes/family.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kOurs = "a folder of mxq quantize --format onnx, as it was written";
/// A graph of ours has some kilobytes a layer. Larger files have their weights within, which ours have not.
constexpr size_t kMostGraphBytes = size_t{256} << 20;
constexpr int64_t kByte = 8;

DType dtype_of(OnnxType type) {
  switch (type) {
    case OnnxType::f16:
      return DType::f16;
    case OnnxType::bf16:
      return DType::bf16;
    case OnnxType::f32:
      return DType::f32;
    case OnnxType::u8:
      return DType::u8;
    case OnnxType::i32:
      return DType::i32;
    case OnnxType::i64:
      return DType::i64;
  }
  return DType::f32;
}

/// How exactly MatMulNBits computes is for its user to say: numbers of the file are the same.
bool is_same(OnnxNode found, const OnnxNode& expected) {
  for (OnnxAttribute& attribute : found.attributes) {
    const OnnxAttribute* const usual = expected.find(attribute.name);
    if (attribute.name == kOnnxAccuracy && usual != nullptr) attribute.value = usual->value;
  }
  return found == expected;
}

class Reader {
 public:
  explicit Reader(const fs::path& folder) : folder_(folder), operation_("read " + (folder / kOnnxFile).string()) {}

  QuantizedFolder read() {
    parse();
    QuantizedFolder result;
    result.path = folder_;
    const std::string config = (folder_ / "config.json").string();
    result.config_json = read_file(config);
    result.config = parse_hf_config(result.config_json, config);
    check_onnx_config(*result.config, operation_);
    find_places(result.store);
    const std::vector<OnnxWeight> weights = find_weights();
    check_graph(*result.config, weights);
    for (const OnnxWeight& weight : weights) {
      if (weight.scheme) result.matrices.push_back(matrix(weight, result.store));
    }
    add_usual_zeros(result);
    return result;
  }

 private:
  [[noreturn]] void refuse(std::string given, std::string allowed = kOurs) const {
    throw Error(ErrorCode::unsupported, operation_, std::move(given), std::move(allowed));
  }
  [[noreturn]] void fail(std::string given, std::string allowed) const {
    throw Error(ErrorCode::invalid_file, operation_, std::move(given), std::move(allowed));
  }

  void parse() {
    const MappedFile file(folder_ / kOnnxFile);
    if (file.bytes().size() > kMostGraphBytes) refuse(fmt::format("a graph of {} bytes", file.bytes().size()));
    model_ = parse_onnx(file.bytes(), file.path().string());
    const auto version = model_.metadata.find(kOnnxGraphKey);
    if (model_.producer != kOnnxProducer || version == model_.metadata.end()) {
      refuse(fmt::format("an ONNX model of {}", in_quotes(model_.producer)));
    }
    if (version->second != kOnnxGraphVersion) {
      refuse(fmt::format("version {} of mxq's graphs", in_quotes(version->second)),
             fmt::format("version {}, or a newer mxq", kOnnxGraphVersion));
    }
  }

  /// The initializers that lie in other files.
  void find_places(TensorStore& store) {
    std::map<std::string, std::shared_ptr<const MappedFile>> files;
    std::map<std::string, std::vector<TensorView>> views;
    for (const OnnxTensor& tensor : model_.initializers) {
      const auto* const place = std::get_if<OnnxTensor::Place>(&tensor.data);
      if (place == nullptr) continue;
      // No way out of the folder, and no file of another kind.
      if (!place->file.ends_with(kOnnxDataEnding) || place->file.find('/') != std::string::npos) {
        fail(fmt::format("{} lies in {}", in_quotes(tensor.name), in_quotes(place->file)),
             fmt::format("a file of the folder that ends in {}", kOnnxDataEnding));
      }
      auto& file = files[place->file];
      if (!file) file = std::make_shared<const MappedFile>(folder_ / place->file);
      const auto bytes = file->bytes();
      const auto offset = static_cast<uint64_t>(place->offset), length = static_cast<uint64_t>(place->bytes);
      if (offset > bytes.size() || length > bytes.size() - offset) {
        fail(fmt::format("{} lies at {} and has {} bytes, and {} has {}", in_quotes(tensor.name), offset, length,
                         in_quotes(place->file), bytes.size()),
             "a place within the file");
      }
      views[place->file].push_back({tensor.name, dtype_of(tensor.type), tensor.shape, bytes.subspan(offset, length)});
    }
    for (auto& [name, of] : views) store.add(files[name], std::move(of));
  }

  /// What the nodes say of the codes that they read.
  std::map<std::string, Scheme, std::less<>> find_schemes() const {
    std::map<std::string, Scheme, std::less<>> schemes;
    for (const OnnxNode& node : model_.nodes) {
      const size_t codes = node.op == "MatMulNBits" ? 1 : 0;
      if ((codes == 0 && node.op != "GatherBlockQuantized") || node.inputs.size() <= codes) continue;
      const auto number = [&](const char* name) -> int64_t {
        const OnnxAttribute* const found = node.find(name);
        const auto* const value = found == nullptr ? nullptr : std::get_if<int64_t>(&found->value);
        if (value == nullptr) fail(fmt::format("node {} has no {}", in_quotes(node.name), name), "a whole number");
        return *value;
      };
      const int64_t bits = number("bits"), group = number("block_size");
      const Scheme scheme{static_cast<int>(bits), static_cast<int>(group)};
      if (scheme.bits != bits || scheme.group != group || !is_onnx_scheme(scheme)) {
        refuse(fmt::format("node {} has {} bits in blocks of {}", in_quotes(node.name), bits, group), onnx_schemes());
      }
      const auto [known, fresh] = schemes.emplace(node.inputs[codes], scheme);
      if (!fresh && known->second != scheme) {
        fail(fmt::format("{} is read in {} and in {}", in_quotes(known->first), known->second.name(), scheme.name()),
             "one of the two");
      }
    }
    return schemes;
  }

  std::vector<OnnxWeight> find_weights() const {
    const auto schemes = find_schemes();
    std::map<std::string_view, const OnnxTensor*> tensors;
    for (const OnnxTensor& tensor : model_.initializers) tensors.emplace(tensor.name, &tensor);
    std::vector<OnnxWeight> weights;
    for (const OnnxTensor& tensor : model_.initializers) {
      if (!std::holds_alternative<OnnxTensor::Place>(tensor.data)) continue;
      if (tensor.name.ends_with(kOnnxScales)) continue;  // checked with the graph
      const auto scheme = schemes.find(tensor.name);
      if (scheme == schemes.end()) {
        weights.push_back({tensor.name, dtype_of(tensor.type), tensor.shape, {}});
        continue;
      }
      if (!tensor.name.ends_with(kOnnxCodes)) refuse(fmt::format("codes are called {}", in_quotes(tensor.name)));
      const std::string name = tensor.name.substr(0, tensor.name.size() - kOnnxCodes.size());
      const auto scales = tensors.find(name + std::string(kOnnxScales));
      const auto& [bits, group, family] = scheme->second;
      const bool right = tensor.type == OnnxType::u8 && tensor.shape.size() == 3 &&
                         tensor.shape[2] * kByte == int64_t{group} * bits && scales != tensors.end() &&
                         scales->second->shape == std::vector<int64_t>{tensor.shape[0], tensor.shape[1]};
      if (!right) {
        fail(fmt::format("{} has the shape {} in {}", in_quotes(tensor.name), tensor.shape, scheme->second.name()),
             "rows of whole groups, and a scale for each");
      }
      weights.push_back(
          {name, dtype_of(scales->second->type), {tensor.shape[0], tensor.shape[1] * group}, scheme->second});
    }
    return weights;
  }

  void check_graph(const ModelConfig& config, const std::vector<OnnxWeight>& weights) const {
    const OnnxModel expected = onnx_graph(config, weights, operation_);
    const std::string other = "is not as mxq writes it for this config.json";
    if (model_.opsets != expected.opsets) refuse(fmt::format("its set of operators {}", other));
    if (model_.inputs != expected.inputs || model_.outputs != expected.outputs) {
      refuse(fmt::format("its list of inputs and outputs {}", other));
    }
    if (model_.nodes.size() != expected.nodes.size()) {
      refuse(fmt::format("a graph of {} nodes {}", model_.nodes.size(), other),
             fmt::format("{} nodes", expected.nodes.size()));
    }
    for (size_t i = 0; i < expected.nodes.size(); ++i) {
      if (!is_same(model_.nodes[i], expected.nodes[i])) {
        refuse(fmt::format("node {} {}", in_quotes(model_.nodes[i].name), other));
      }
    }
    std::unordered_map<std::string_view, const OnnxTensor*> found;
    for (const OnnxTensor& tensor : model_.initializers) found.emplace(tensor.name, &tensor);
    for (const OnnxTensor& tensor : expected.initializers) {
      const auto one = found.find(tensor.name);
      if (one == found.end()) refuse(fmt::format("no initializer {}", in_quotes(tensor.name)));
      const bool elsewhere = std::holds_alternative<OnnxTensor::Place>(one->second->data);
      const bool same = one->second->type == tensor.type && one->second->shape == tensor.shape &&
                        (elsewhere ? std::get<std::string>(tensor.data).empty() : one->second->data == tensor.data);
      if (!same) refuse(fmt::format("initializer {} {}", in_quotes(tensor.name), other));
    }
    if (found.size() != expected.initializers.size()) {
      refuse(fmt::format("{} initializers", found.size()), fmt::format("{}", expected.initializers.size()));
    }
  }

  QuantizedFolder::Matrix matrix(const OnnxWeight& weight, const TensorStore& store) const {
    const TensorView& codes = *store.find(weight.name + std::string(kOnnxCodes));
    const TensorView& scales = *store.find(weight.name + std::string(kOnnxScales));
    QuantizedFolder::Matrix matrix;
    matrix.name = weight.name.substr(0, weight.name.size() - kWeight.size());
    matrix.view.layout = {weight.shape[0], weight.shape[1], *weight.scheme, 1, Metadata::f16};
    matrix.view.parts = {codes.bytes, scales.bytes, {}};
    matrix.parts = {codes.name, scales.name};
    matrix.dtype = DType::f16;
    return matrix;
  }

  static constexpr std::string_view kWeight = ".weight";

  const fs::path& folder_;
  std::string operation_;
  OnnxModel model_;
};

}  // namespace

QuantizedFolder open_onnx_folder(const fs::path& folder) {
  return Reader(folder).read();
}

}  // namespace mxq
