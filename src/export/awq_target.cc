// A folder for AWQ's loaders (docs/decisions/0024): vLLM, transformers with GPTQModel, GPTQModel. 4 bits, groups of one
// size for the whole model, packed as AutoAWQ's "gemm". Read from GPTQModel 7.7.0 (quantization/awq) and vLLM.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/bitpack.h"
#include "export/transformers_model.h"
#include "export/transformers_target.h"
#include "export/turned.h"
#include "export/zero_codes.h"
#include "format/awq_config.h"
#include "mxq/error.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace {

constexpr int kBits = 4;
constexpr int64_t kNibbles = 8;  // of a word
constexpr const char* kSchemes = "b4g32, b4g64 or b4g128";
/// Which of eight neighbouring rows each nibble of a word has, from the lowest on.
constexpr std::array<int64_t, kNibbles> kOrder{0, 2, 4, 6, 1, 3, 5, 7};

bool is_known(const Scheme& scheme) {
  const auto& known = paper_schemes();
  return scheme.bits == kBits && std::find(known.begin(), known.end(), scheme) != known.end();
}

/// [rows, cols] of codes as [cols, rows / 8] of words.
std::vector<uint32_t> along_rows(std::span<const uint8_t> codes, int64_t rows) {
  const int64_t cols = static_cast<int64_t>(codes.size()) / rows, row_words = rows / kNibbles;
  std::vector<uint32_t> words(static_cast<size_t>(cols * row_words));
  for (int64_t w = 0; w < row_words; ++w) {
    for (int64_t nibble = 0; nibble < kNibbles; ++nibble) {
      const uint8_t* const row = codes.data() + (w * kNibbles + kOrder[static_cast<size_t>(nibble)]) * cols;
      for (int64_t k = 0; k < cols; ++k) {
        words[static_cast<size_t>(k * row_words + w)] |= uint32_t{row[k]} << (kBits * nibble);
      }
    }
  }
  return words;
}

void write_matrix(const std::string& name, const QuantizedMatrix& matrix, const std::string& operation,
                  SafetensorsWriter& writer) {
  const QuantizedLayout& layout = matrix.layout;
  const int64_t rows = layout.rows;
  std::vector<uint8_t> codes(static_cast<size_t>(rows * layout.cols));
  unpack_codes(matrix.part("codes"), kBits, 0, rows * layout.cols, codes.data());
  writer.write(std::as_bytes(std::span<const uint32_t>(along_rows(codes, rows))));
  writer.write(std::as_bytes(std::span<const uint32_t>(along_rows(zero_codes(name, matrix, false, operation), rows))));
  writer.write(std::as_bytes(std::span<const uint16_t>(turned<uint16_t>(matrix.part("scales"), rows))));
}

class AwqTarget final : public TransformersTarget {
 public:
  std::string_view name() const override { return "awq"; }
  std::vector<Scheme> usual_schemes() const override { return {{kBits, 128}}; }
  std::optional<ZeroPoint> usual_zero_point() const override { return ZeroPoint::integer; }

  void check(const QuantizeOptions& options, std::span<const Scheme> schemes) const override {
    for (const Scheme& scheme : schemes) {
      if (!is_known(scheme)) refuse("schemes", scheme.name(), kSchemes);
      if (scheme.group != schemes.front().group) {
        refuse("schemes", fmt::format("{} beside {}", scheme.name(), schemes.front().name()),
               fmt::format("one of {} for the whole model", kSchemes));
      }
    }
    TransformersTarget::check(options, schemes);
  }

  bool holds(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols) const override {
    return is_known(scheme) && TransformersTarget::holds(scheme, options, rows, cols) && rows % kNibbles == 0;
  }

 protected:
  std::vector<ZeroPoint> zero_points() const override { return {ZeroPoint::integer, ZeroPoint::symmetric}; }
  std::string holds_what() const override { return "groups that divide its columns, and rows in eights"; }

  std::vector<OutputTensors> matrix_outputs(const std::string& name, const QuantizedLayout& layout,
                                            std::function<QuantizedMatrix()> make) const override {
    const int64_t rows = layout.rows, cols = layout.cols, groups = cols / layout.scheme.group;
    std::vector<OutputTensors> outputs(1);
    OutputTensors& output = outputs.front();
    output.specs = {{name + ".qweight", DType::i32, {cols, rows / kNibbles}},
                    {name + ".qzeros", DType::i32, {groups, rows / kNibbles}},
                    {name + ".scales", float_dtype(layout.metadata), {groups, rows}}};
    output.work = rows * cols;
    output.write = [name, make = std::move(make), operation = operation()](SafetensorsWriter& writer) {
      const QuantizedMatrix matrix = make();
      check_numbers(name, matrix.view());
      write_matrix(name, matrix, operation, writer);
    };
    return outputs;
  }

  QuantizedLayout widest_layout(int64_t rows, int64_t cols) const override {
    return {rows, cols, {kBits, 32}, 1, Metadata::bf16_bias};
  }

  std::vector<const SourceTensor*> model_tensors(const ModelSource& model,
                                                 std::vector<std::string>& notes) const override {
    note_split_modules(model, notes);
    return TransformersTarget::model_tensors(model, notes);
  }

  std::vector<std::pair<std::string, std::string>> config_files(const Contents& contents) const override {
    AwqConfig config;
    if (!contents.matrices.empty()) config.group = contents.matrices.front().second.scheme.group;
    for (const auto& [tensor, layout] : contents.matrices) {
      if (layout.scheme.group == config.group) continue;
      throw Error(ErrorCode::usage, operation(),
                  fmt::format("'{}' in {} beside others in groups of {}", tensor->matrix_name(), layout.scheme.name(),
                              config.group),
                  "groups of one size for the whole model");
    }
    config.plain = plain_modules(contents.kept);
    config.plain.push_back("lm_head");  // a module of vLLM even where it is the embedding
    const std::string json = transformers_config_json(contents.model, contents.dtype);
    return {{"config.json", set_awq_config(json, config, "config.json")}};
  }
};

}  // namespace

const Target& awq_target() {
  static const AwqTarget target;
  return target;
}

}  // namespace mxq
