// A folder for GPTQ's loaders (docs/decisions/0024): GPTQModel, transformers with it, and vLLM. Read from
// GPTQModel 7.7.0 (nn_modules/qlinear, quantization/config, models/loader) and vLLM.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/bitpack.h"
#include "export/transformers_model.h"
#include "export/transformers_target.h"
#include "export/turned.h"
#include "export/zero_codes.h"
#include "format/gptq_config.h"
#include "model/arch/architecture.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace {

constexpr int64_t kWord = 32;  // bits of an element of codes

bool is_known(const Scheme& scheme) {
  const auto& known = paper_schemes();
  return std::find(known.begin(), known.end(), scheme) != known.end();
}

class GptqTarget final : public TransformersTarget {
 public:
  explicit GptqTarget(bool version_2) : version_2_(version_2) {}
  /// Version 1 stores zeros less one. It is what most loaders read where all zeros are in the middle; others it cannot
  /// hold, for 0 is one of them.
  static const GptqTarget& of(const QuantizeOptions& options) {
    static const GptqTarget version_1(false), version_2(true);
    return options.feedback.zero_point == ZeroPoint::symmetric ? version_1 : version_2;
  }

  std::string_view name() const override { return "gptq"; }
  std::vector<Scheme> usual_schemes() const override { return paper_schemes(); }
  std::optional<ZeroPoint> usual_zero_point() const override { return ZeroPoint::symmetric; }

  void check(const QuantizeOptions& options, std::span<const Scheme> schemes) const override {
    for (const Scheme& scheme : schemes) {
      if (!is_known(scheme)) refuse("schemes", scheme.name(), "b2, b3, b4 or b8 with g32, g64 or g128");
    }
    TransformersTarget::check(options, schemes);
  }

  /// Zeros of a group are whole words.
  bool holds(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols) const override {
    return is_known(scheme) && TransformersTarget::holds(scheme, options, rows, cols) &&
           rows * scheme.bits % kWord == 0;
  }

  WriteReport write(const Export& what, const OutputPlace& out, const WriteOptions& options,
                    Progress* progress) const override {
    return of(what.quantize).SafetensorsTarget::write(what, out, options, progress);
  }

 protected:
  std::vector<ZeroPoint> zero_points() const override { return {ZeroPoint::symmetric, ZeroPoint::integer}; }
  std::string holds_what() const override {
    return "groups that divide its columns, and rows whose zeros fill words of 32 bits";
  }

  std::vector<OutputTensors> matrix_outputs(const std::string& name, const QuantizedLayout& layout,
                                            std::function<QuantizedMatrix()> make) const override {
    const int64_t rows = layout.rows, cols = layout.cols, bits = layout.scheme.bits,
                  groups = cols / layout.scheme.group;
    std::vector<OutputTensors> outputs(1);
    OutputTensors& output = outputs.front();
    output.specs = {{name + ".qweight", DType::i32, {cols * bits / kWord, rows}},
                    {name + ".qzeros", DType::i32, {groups, rows * bits / kWord}},
                    {name + ".g_idx", DType::i32, {cols}},
                    {name + ".scales", float_dtype(layout.metadata), {groups, rows}}};
    output.work = rows * cols;
    output.write = [this, name, make = std::move(make)](SafetensorsWriter& writer) {
      const QuantizedMatrix matrix = make();
      check_numbers(name, matrix.view());
      write_matrix(name, matrix, writer);
    };
    return outputs;
  }

  std::vector<const SourceTensor*> model_tensors(const ModelSource& model,
                                                 std::vector<std::string>& notes) const override {
    note_split_modules(model, notes);
    return TransformersTarget::model_tensors(model, notes);
  }

  std::vector<std::pair<std::string, std::string>> config_files(const Contents& contents) const override {
    const GptqConfig config = config_of(contents);
    const std::string json = transformers_config_json(contents.model, contents.dtype);
    return {{"config.json", set_gptq_config(json, config, "config.json")},
            {"quantize_config.json", print_gptq_config(config)}};
  }

 private:
  void write_matrix(const std::string& name, const QuantizedMatrix& matrix, SafetensorsWriter& writer) const {
    const QuantizedLayout& layout = matrix.layout;
    const int64_t rows = layout.rows, cols = layout.cols, group = layout.scheme.group;
    const int bits = layout.scheme.bits;
    const auto codes = matrix.part("codes").first(static_cast<size_t>(rows * cols * bits / 8));
    writer.write(std::as_bytes(std::span<const uint32_t>(turned<uint32_t>(codes, rows))));
    std::vector<uint8_t> zeros = zero_codes(name, matrix, !version_2_, operation());
    for (uint8_t& zero : zeros) zero = static_cast<uint8_t>(zero - (version_2_ ? 0 : 1));
    zeros = turned<uint8_t>(std::as_bytes(std::span(zeros)), rows);
    std::vector<std::byte> packed(static_cast<size_t>(static_cast<int64_t>(zeros.size()) * bits / 8));
    for (int64_t g = 0; g < cols / group; ++g) {
      pack_codes(zeros.data() + g * rows, rows, bits, packed.data() + g * rows * bits / 8);
    }
    writer.write(packed);
    std::vector<int32_t> group_of(static_cast<size_t>(cols));
    for (int64_t k = 0; k < cols; ++k) group_of[static_cast<size_t>(k)] = static_cast<int32_t>(k / group);
    writer.write(std::as_bytes(std::span(group_of)));
    writer.write(std::as_bytes(std::span<const uint16_t>(turned<uint16_t>(matrix.part("scales"), rows))));
  }

  GptqConfig config_of(const Contents& contents) const {
    GptqConfig config;
    config.version_2 = version_2_;
    config.usual = usual_of(contents);
    config.usual.symmetric = !version_2_;
    for (const auto& [tensor, layout] : contents.matrices) {
      const GptqScheme scheme{layout.scheme.bits, layout.scheme.group, !version_2_};
      if (scheme == config.usual) continue;
      add_rule(tensor->matrix_name(), scheme, config.rules);
    }
    const std::vector<std::string> plain = plain_modules(contents.kept);
    for (const std::string& name : plain) add_rule(name, {}, config.rules);
    if (plain.empty()) return config;
    for (const auto& [tensor, layout] : contents.matrices) config.only.push_back(tensor->matrix_name());
    return config;
  }

  /// What most weights are in; of 2 or 3 bits where any are, for vLLM chooses its kernels by that.
  static GptqScheme usual_of(const Contents& contents) {
    std::map<std::pair<int, int>, int64_t> weights;  // by bits and group
    bool narrow = false;
    for (const auto& [tensor, layout] : contents.matrices) {
      weights[{layout.scheme.bits, layout.scheme.group}] += tensor->elements();
      narrow |= layout.scheme.bits < 4;
    }
    GptqScheme usual;
    int64_t most = 0;
    for (const auto& [scheme, count] : weights) {
      if (count <= most || (narrow && scheme.first >= 4)) continue;
      usual.bits = scheme.first;
      usual.group = scheme.second;
      most = count;
    }
    return usual;
  }

  /// Once for all modules that vLLM fuses, with the name of the fused one.
  static void add_rule(const std::string& name, std::optional<GptqScheme> scheme,
                       std::vector<GptqConfig::Rule>& rules) {
    const size_t dot = name.rfind('.');
    GptqConfig::Rule rule{name.substr(0, dot), {name.substr(dot + 1)}, scheme};
    for (const FusedModules& fused : fused_modules()) {
      const auto& modules = fused.modules;
      if (std::find(modules.begin(), modules.end(), rule.leaves.front()) == modules.end()) continue;
      rule.leaves.assign(modules.begin(), modules.end());
      rule.leaves.push_back(fmt::format("{}_proj", fused.name));
    }
    const auto alike = [&](const auto& other) { return other.block == rule.block && other.leaves == rule.leaves; };
    if (std::none_of(rules.begin(), rules.end(), alike)) rules.push_back(std::move(rule));
  }

  bool version_2_;
};

}  // namespace

const Target& gptq_target() {
  QuantizeOptions usual;
  usual.feedback.zero_point = ZeroPoint::symmetric;
  return GptqTarget::of(usual);
}

}  // namespace mxq
