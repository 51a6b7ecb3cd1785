// What a folder that mlx-lm loads says of its tensors: "quantization" of config.json, and the shapes.
#include <fmt/format.h>

#include <string_view>

#include "base/foreign_dtype.h"
#include "format/safetensors.h"
#include "model/checkpoint_source.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "schemes/family.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kWeight = ".weight", kScales = ".scales", kBiases = ".biases";
constexpr int64_t kWord = 32;  // bits of an element of codes

/// One module of the folder.
class Reader {
 public:
  Reader(const fs::path& folder, const TensorStore& store, std::string name, const MlxQuantization::Scheme& scheme)
      : operation_("read " + folder.string()), store_(store), name_(std::move(name)), scheme_(scheme) {}

  QuantizedFolder::Matrix read() const {
    if (scheme_.mode != "affine") {
      throw Error(ErrorCode::unsupported, operation_,
                  fmt::format("'{}' is quantized in the mode '{}'", name_, scheme_.mode), "affine");
    }
    const TensorView &weight = tensor(kWeight), &scales = tensor(kScales), &biases = tensor(kBiases);
    if (weight.shape.size() != 2) {
      throw Error(ErrorCode::unsupported, operation_,
                  fmt::format("'{}.weight' has {} dimensions", name_, weight.shape.size()),
                  "2: stacks of experts are not read from MLX");
    }
    if (weight.dtype != foreign_dtype("U32")) refuse_dtype(kWeight, weight, "U32");
    if (scales.dtype != DType::f16 && scales.dtype != DType::bf16) refuse_dtype(kScales, scales, "F16 or BF16");
    if (biases.dtype != scales.dtype) refuse_dtype(kBiases, biases, "the scales' dtype");
    const int64_t rows = weight.shape[0], bits = weight.shape[1] * kWord, cols = bits / scheme_.bits;
    if (bits % scheme_.bits != 0 || cols % scheme_.group != 0) {
      throw Error(ErrorCode::invalid_file, operation_,
                  fmt::format("'{}' has rows of {} bits, and {} bits in groups of {} by config.json", name_, bits,
                              scheme_.bits, scheme_.group),
                  "whole groups");
    }
    const std::vector<int64_t> groups{rows, cols / scheme_.group};
    for (const TensorView* view : {&scales, &biases}) {
      if (view->shape == groups) continue;
      throw Error(ErrorCode::invalid_file, operation_,
                  fmt::format("'{}' has {} elements", view->name, view->elements()),
                  fmt::format("{} x {} of a {} x {} matrix", groups[0], groups[1], rows, cols));
    }
    QuantizedFolder::Matrix matrix;
    matrix.name = name_;
    matrix.view.layout = {rows,
                          cols,
                          {static_cast<int>(scheme_.bits), static_cast<int>(scheme_.group)},
                          1,
                          scales.dtype == DType::f16 ? Metadata::f16_bias : Metadata::bf16_bias};
    const Scheme& scheme = matrix.view.layout.scheme;
    family_of(scheme.family).check(scheme, 1, matrix.view.layout.metadata, operation_.c_str());
    matrix.view.parts = {weight.bytes, scales.bytes, biases.bytes};
    matrix.parts = {weight.name, scales.name, biases.name};
    matrix.dtype = scales.dtype;
    return matrix;
  }

 private:
  const TensorView& tensor(std::string_view ending) const {
    const TensorView* const found = store_.find(name_ + std::string(ending));
    if (found == nullptr) {
      throw Error(ErrorCode::invalid_file, operation_, fmt::format("tensor '{}{}' is missing", name_, ending));
    }
    return *found;
  }
  [[noreturn]] void refuse_dtype(std::string_view ending, const TensorView& view, const char* allowed) const {
    throw Error(ErrorCode::unsupported, operation_, fmt::format("'{}{}' is {}", name_, ending, dtype_name(view.dtype)),
                allowed);
  }

  std::string operation_;
  const TensorStore& store_;
  std::string name_;
  const MlxQuantization::Scheme& scheme_;
};

}  // namespace

QuantizedFolder open_mlx_folder(const fs::path& folder, const MlxQuantization& quantization) {
  const std::string file = (folder / "config.json").string();
  QuantizedFolder result;
  result.path = folder;
  result.config_json = set_mlx_quantization(read_file(file), std::nullopt, file);
  result.config = parse_hf_config(result.config_json, file);
  result.store = open_safetensors(folder);
  const DType packed = foreign_dtype("U32");
  for (const TensorView& view : result.store.tensors()) {
    const bool codes = view.dtype == packed && view.name.ends_with(kWeight);
    const std::string name = view.name.substr(0, view.name.rfind('.'));
    // Scales whose codes are of another dtype are named too; those of codes only once.
    const TensorView* const weight = result.store.find(name + std::string(kWeight));
    if (!codes && !(view.name.ends_with(kScales) && (weight == nullptr || weight->dtype != packed))) continue;
    const auto found = quantization.modules.find(name);
    const bool named = found != quantization.modules.end() && found->second;
    result.matrices.push_back(Reader(folder, result.store, name, named ? *found->second : quantization.usual).read());
  }
  return result;
}

}  // namespace mxq
