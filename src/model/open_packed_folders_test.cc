// Folders of GPTQ and AWQ, made here by the definition: what is read is (code - zero) * scale.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>
#include <random>

#include "base/half.h"
#include "expect_error.h"
#include "format/safetensors_writer.h"
#include "model/model_source.h"
#include "model/tiny_model.h"
#include "mxq/error.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

const std::string kModule = "model.layers.0.mlp.down_proj";

/// Bits at bit `at` of a stream of words, from the lowest on.
void put_bits(std::vector<uint32_t>& words, int64_t at, int bits, int value) {
  for (int b = 0; b < bits; ++b) {
    words[static_cast<size_t>((at + b) / 32)] |= static_cast<uint32_t>(value >> b & 1) << ((at + b) % 32);
  }
}

struct Case {
  int64_t rows = 32, cols = 64, bits = 4, group = 32;  // group 0: all columns
  DType scales = DType::f16;
  bool version_2 = true, symmetric = false, awq = false, shuffled = false, with_groups = true;
};

/// One matrix of random codes, scales and zeros as a folder, and its weights.
struct Folder {
  Folder(const std::filesystem::path& where, const Case& of, std::mt19937& random) : path(where), which(of) {
    const int64_t rows = of.rows, cols = of.cols, group = of.group > 0 ? of.group : cols;
    const int64_t groups = (cols + group - 1) / group;
    const int bits = static_cast<int>(of.bits);
    std::uniform_int_distribution<int> code(0, (1 << bits) - 1),
        zero_of(of.version_2 || of.awq ? 0 : 1, (1 << bits) - 1);
    std::uniform_real_distribution<float> any(0.01f, 0.1f);
    std::vector<int32_t> group_of(static_cast<size_t>(cols));
    for (int64_t k = 0; k < cols; ++k) group_of[static_cast<size_t>(k)] = static_cast<int32_t>(k / group);
    if (of.shuffled) std::shuffle(group_of.begin(), group_of.end(), random);
    std::vector<int> zeros(static_cast<size_t>(groups * rows), 1 << (bits - 1));
    std::vector<float> scales(zeros.size());
    std::vector<std::byte> stored_scales(zeros.size() * static_cast<size_t>(dtype_block_bytes(of.scales)));
    for (size_t i = 0; i < zeros.size(); ++i) {
      if (!of.symmetric) zeros[i] = zero_of(random);
      const float scale = any(random);
      const uint16_t half = of.scales == DType::bf16 ? bf16_from_f32(scale) : f16_from_f32(scale);
      scales[i] = of.scales == DType::f32 ? scale : of.scales == DType::bf16 ? f32_from_bf16(half) : f32_from_f16(half);
      if (of.scales == DType::f32) {
        std::memcpy(stored_scales.data() + 4 * i, &scale, 4);
      } else {
        std::memcpy(stored_scales.data() + 2 * i, &half, 2);
      }
    }
    std::vector<uint32_t> words(static_cast<size_t>(cols * rows * bits / 32)),
        zero_words(static_cast<size_t>(groups * rows * bits / 32));
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t k = 0; k < cols; ++k) {
        const int c = code(random);
        const auto at = static_cast<size_t>(group_of[static_cast<size_t>(k)] * rows + n);
        expected.push_back(static_cast<float>(c - zeros[at]) * scales[at]);
        if (of.awq) {
          words[static_cast<size_t>(k * (rows / 8) + n / 8)] |= static_cast<uint32_t>(c) << (4 * place(n));
        } else {
          std::vector<uint32_t> column(static_cast<size_t>(cols * bits / 32));
          put_bits(column, k * bits, bits, c);
          for (size_t w = 0; w < column.size(); ++w)
            words[w * static_cast<size_t>(rows) + static_cast<size_t>(n)] |= column[w];
        }
      }
      for (int64_t g = 0; g < groups; ++g) {
        const int zero = zeros[static_cast<size_t>(g * rows + n)] - (of.version_2 || of.awq ? 0 : 1);
        if (of.awq) {
          zero_words[static_cast<size_t>(g * (rows / 8) + n / 8)] |= static_cast<uint32_t>(zero) << (4 * place(n));
        } else {
          std::vector<uint32_t> row(static_cast<size_t>(rows * bits / 32));
          put_bits(row, n * bits, bits, zero);
          for (size_t w = 0; w < row.size(); ++w) zero_words[static_cast<size_t>(g) * row.size() + w] |= row[w];
        }
      }
    }
    if (of.awq) {
      add(".qweight", DType::i32, {cols, rows / 8}, words);
      add(".qzeros", DType::i32, {groups, rows / 8}, zero_words);
    } else {
      add(".qweight", DType::i32, {cols * bits / 32, rows}, words);
      add(".qzeros", DType::i32, {groups, rows * bits / 32}, zero_words);
    }
    add(".scales", of.scales, {groups, rows}, stored_scales);
    if (!of.awq && of.with_groups) add(".g_idx", DType::i32, {cols}, group_of);
    const int64_t said = of.group > 0 ? of.group : -1;
    if (of.awq) {
      config = {{"quant_method", "awq"}, {"bits", 4}, {"group_size", said}, {"version", "gemm"}, {"zero_point", true}};
    } else {
      config = {{"quant_method", "gptq"},  {"bits", of.bits},
                {"group_size", said},      {"sym", of.symmetric},
                {"desc_act", of.shuffled}, {"checkpoint_format", of.version_2 ? "gptq_v2" : "gptq"}};
    }
  }

  /// Of the nibbles of AWQ's words, 0 2 4 6 1 3 5 7, the one that has row `n`.
  static int place(int64_t n) {
    const int order[] = {0, 2, 4, 6, 1, 3, 5, 7};
    return static_cast<int>(std::find(std::begin(order), std::end(order), n % 8) - std::begin(order));
  }

  template <typename Value>
  void add(const std::string& ending, DType dtype, std::vector<int64_t> shape, const std::vector<Value>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    specs.push_back({kModule + ending, dtype, std::move(shape)});
    parts.emplace_back(bytes.begin(), bytes.end());
  }
  void remove(const std::string& ending) {
    for (size_t i = 0; i < specs.size(); ++i) {
      if (specs[i].name != kModule + ending) continue;
      specs.erase(specs.begin() + static_cast<int64_t>(i));
      parts.erase(parts.begin() + static_cast<int64_t>(i));
      return;
    }
    ADD_FAILURE() << ending;
  }

  void write() const {
    std::filesystem::create_directories(path);
    Json json = Json::parse(TinyModel("llama2").config.dump());
    if (own_config.empty()) {
      json["quantization_config"] = config;
    } else {
      std::ofstream(path / own_config) << config.dump();
    }
    std::ofstream(path / "config.json") << json.dump();
    SafetensorsWriter writer(path / "model.safetensors", specs);
    for (const auto& part : parts) writer.write(part);
    writer.commit();
  }

  std::filesystem::path path;
  Case which;
  Json config;
  std::string own_config;  // the file that says it, where it is not config.json
  std::vector<TensorSpec> specs;
  std::vector<std::vector<std::byte>> parts;
  Values expected;
};

struct PackedFolders : testing::Test {
  void expect_read(const Folder& made) {
    made.write();
    const auto model = open_model(made.path);
    const SourceTensor* const tensor = model->find(kModule + ".weight");
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->shape, (std::vector<int64_t>{made.which.rows, made.which.cols}));
    Values read(made.expected.size());
    model->read(*tensor, read.data());
    EXPECT_EQ(read, made.expected);
    // A few rows by themselves, which begin inside of a word.
    const auto cols = static_cast<size_t>(made.which.cols);
    Values some(5 * cols);
    model->read_rows(*tensor, 11, 5, some.data());
    EXPECT_EQ(some, Values(made.expected.begin() + 11 * static_cast<int64_t>(cols),
                           made.expected.begin() + 16 * static_cast<int64_t>(cols)));
    int64_t bytes = 0;
    for (const auto& part : made.parts) bytes += static_cast<int64_t>(part.size());
    EXPECT_EQ(model->stored_bytes(*tensor), bytes);
    EXPECT_EQ(model->tensors().size(), 1u);
    EXPECT_FALSE(Json::parse(model->config_json()).contains("quantization_config"));
    EXPECT_EQ(model->exact_layout(*tensor).has_value(), !made.which.shuffled);
    if (!made.which.shuffled) {
      Values groups(made.expected.size());
      dequantize_matrix(model->exact_groups(*tensor).view(), groups.data());
      EXPECT_EQ(groups, made.expected);
    }
  }
  std::filesystem::path next() { return folder.path() / std::to_string(number++); }

  TemporaryFolder folder;
  std::mt19937 random{20261130};
  int number = 0;
};

TEST_F(PackedFolders, GptqIsReadByTheDefinition) {
  for (const int64_t bits : {2, 3, 4, 8}) {
    for (const bool version_2 : {true, false}) {
      for (const bool shuffled : {true, false}) {
        // Groups that the affine family has, that it has not, columns whole, and a last group that is short.
        for (const auto& [cols, group] :
             {std::pair<int64_t, int64_t>{64, 32}, {192, 96}, {1024, 512}, {320, 0}, {160, 64}}) {
          SCOPED_TRACE(testing::Message() << bits << " bits, " << cols << " columns in groups of " << group
                                          << " version 2 " << version_2 << " shuffled " << shuffled);
          Case of{32, cols, bits, group};
          of.version_2 = version_2;
          of.shuffled = shuffled && group > 0;
          expect_read(Folder(next(), of, random));
        }
      }
    }
  }
}

TEST_F(PackedFolders, GptqIsReadInOtherDtypesAndWithoutGroups) {
  for (const DType dtype : {DType::f16, DType::bf16, DType::f32}) {
    for (const bool symmetric : {true, false}) {
      Case of{64, 96, 3, 32, dtype};
      of.symmetric = symmetric;
      of.version_2 = !symmetric;
      of.with_groups = false;
      expect_read(Folder(next(), of, random));
    }
  }
  Folder alone(next(), {32, 64, 4, 32}, random);
  alone.own_config = "quantize_config.json";
  alone.config.erase("quant_method");  // as AutoGPTQ wrote it
  expect_read(alone);
}

TEST_F(PackedFolders, SchemesOfOthersAreFoundByShape) {
  for (const auto& [bits, group] : {std::pair<int64_t, int64_t>{2, 32}, {3, 64}, {8, 64}}) {
    Folder made(next(), {32, 128, bits, group}, random);
    made.config["bits"] = 4;
    made.config["group_size"] = 128;
    made.config["dynamic"] = {{"-:.*q_proj.*", Json::object()},
                              {"+:.*down_proj$", {{"bits", bits}, {"group_size", group}}}};
    expect_read(made);
  }
}

/// AutoGPTQ's version 1 has no zero of 0; GPTQModel's borrows from the next zeros of the word.
TEST_F(PackedFolders, ZerosThatVersion1CannotHold) {
  const auto all_zero = [](Folder& made, int bits) {  // W = code * scale: each zero is 0
    for (size_t i = 0; i < made.specs.size(); ++i) {
      if (made.specs[i].name != kModule + ".qzeros") continue;
      auto* const words = reinterpret_cast<uint32_t*>(made.parts[i].data());
      for (size_t w = 0; w < made.parts[i].size() / 4; ++w) {
        uint32_t ones = 0;
        for (int b = 0; b < 32; b += bits) ones |= uint32_t{1} << b;
        words[w] = bits == 3 ? 0xFFFFFFFFu : 0u - ones;  // of 3 bits each zero by itself: 7
      }
    }
  };
  for (const int bits : {2, 3, 4, 8}) {
    SCOPED_TRACE(bits);
    Case of{32, 64, bits, 32};
    of.version_2 = false;
    Folder made(next(), of, random);
    const Folder copy = made;
    all_zero(made, bits);
    made.config["meta"] = {{"quantizer", {"gptqmodel:5.0.0"}}};
    made.write();
    const auto model = open_model(made.path);
    const SourceTensor& tensor = *model->find(kModule + ".weight");
    Values read(made.expected.size());
    model->read(tensor, read.data());
    EXPECT_EQ(*std::min_element(read.begin(), read.end()), 0.0f);
    EXPECT_GT(*std::max_element(read.begin(), read.end()), 0.0f);
    made.config.erase("meta");
    made.path = next();
    made.write();
    const auto other = open_model(made.path);
    expect_error(ErrorCode::unsupported, "down_proj.qzeros' has the zero",
                 [&] { other->read(*other->find(kModule + ".weight"), read.data()); });
  }
}

TEST_F(PackedFolders, ZerosOfSymmetricMatricesAreInTheMiddle) {
  Case of{32, 64, 4, 32};
  of.symmetric = true;
  Folder made(next(), of, random);
  made.config["checkpoint_format"] = "gptq";  // whose zeros would be 9
  expect_read(made);
  of.symmetric = false;
  Folder not_so(next(), of, random);
  not_so.config["sym"] = true;
  not_so.write();
  const auto model = open_model(not_so.path);
  Values read(not_so.expected.size());
  expect_error(ErrorCode::unsupported, "expected 8, the zero of all groups of a symmetric matrix",
               [&] { model->read(*model->find(kModule + ".weight"), read.data()); });
}

TEST_F(PackedFolders, AwqIsReadByTheDefinition) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    for (const auto& [cols, group] : {std::pair<int64_t, int64_t>{64, 32}, {192, 96}, {512, 128}, {320, 0}}) {
      Case of{40, cols, 4, group, dtype};
      of.awq = true;
      expect_read(Folder(next(), of, random));
    }
  }
  Case of{32, 128, 4, 64};
  of.awq = true;
  Folder alone(next(), of, random);
  alone.own_config = "quant_config.json";
  alone.config = {{"zero_point", true}, {"q_group_size", 64}, {"w_bit", 4}, {"version", "GEMM"}};
  expect_read(alone);
}

TEST_F(PackedFolders, TheOutputMatrixMayBePacked) {
  for (const bool awq : {false, true}) {
    Case of{64, 32, 4, 32};
    of.awq = awq;
    Folder made(next(), of, random);
    made.config["lm_head"] = true;
    for (TensorSpec& spec : made.specs) spec.name.replace(0, kModule.size(), "lm_head");
    made.write();
    const auto model = open_model(made.path);
    const SourceTensor* const tensor = model->find("lm_head.weight");
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->role, TensorRole::head);
    Values read(made.expected.size());
    model->read(*tensor, read.data());
    EXPECT_EQ(read, made.expected);
  }
}

TEST_F(PackedFolders, WhatIsNotReadIsNamed) {
  const auto refused = [&](ErrorCode code, const char* why, const Case& of,
                           const std::function<void(Folder&)>& change) {
    Folder made(next(), of, random);
    change(made);
    made.write();
    expect_error(code, why, [&] { open_model(made.path); });
  };
  Case gptq{32, 64, 4, 32}, awq = gptq, shuffled = gptq;
  awq.awq = true;
  shuffled.shuffled = true;
  const auto invalid = ErrorCode::invalid_file, unsupported = ErrorCode::unsupported;
  refused(invalid, "has qweight 8 x 32, qzeros 2 x 4 and scales 2 x 32; expected bits and groups that", gptq,
          [](Folder& f) { f.config["bits"] = 3; });
  refused(invalid, "has qweight 8 x 32", gptq, [](Folder& f) { f.config["group_size"] = 16; });
  refused(invalid, "tensor 'model.layers.0.mlp.down_proj.qzeros' is missing", gptq,
          [](Folder& f) { f.remove(".qzeros"); });
  refused(invalid, "tensor 'model.layers.0.mlp.down_proj.scales' is missing", awq,
          [](Folder& f) { f.remove(".scales"); });
  refused(invalid, "tensor 'model.layers.0.mlp.down_proj.g_idx' is missing", shuffled,
          [](Folder& f) { f.remove(".g_idx"); });
  refused(unsupported, "g_idx' has 64 columns in group 0; expected 32", gptq,
          [](Folder& f) { std::fill(f.parts.back().begin(), f.parts.back().end(), std::byte{0}); });
  refused(invalid, "g_idx' has the group 7 for column 0; expected 0 to 1", gptq,
          [](Folder& f) { f.parts.back()[0] = std::byte{7}; });
  refused(unsupported, "'model.layers.0.mlp.down_proj.qweight' is F32; expected I32", gptq,
          [](Folder& f) { f.specs[0].dtype = DType::f32; });
  refused(unsupported, "scales' is I32; expected F16, BF16 or F32", gptq, [](Folder& f) {
    f.specs[2].dtype = DType::i32;
    f.parts[2].resize(2 * 32 * 4);
  });
  refused(unsupported, "qweight' has 3 dimensions", gptq, [](Folder& f) { f.specs[0].shape = {2, 4, 32}; });
  refused(unsupported, "has groups of 24; expected multiples of 16", {32, 96, 4, 24}, [](Folder&) {});
  refused(unsupported, "may be in two of the configuration's schemes; expected a 'g_idx'", {32, 96, 4, 64},
          [](Folder& f) {
            f.remove(".g_idx");
            f.config["dynamic"] = {{"other", {{"group_size", 80}}}};
          });
  refused(unsupported, "'checkpoint_format' is \"marlin\"; expected gptq or gptq_v2", gptq,
          [](Folder& f) { f.config["checkpoint_format"] = "marlin"; });
  refused(unsupported, "'bits' is 5; expected 2, 3, 4 or 8", gptq, [](Folder& f) { f.config["bits"] = 5; });
  refused(unsupported, "'bits' is 8; expected 4", awq, [](Folder& f) { f.config["bits"] = 8; });
  refused(unsupported, "'version' is \"gemv\"; expected gemm", awq, [](Folder& f) { f.config["version"] = "gemv"; });
  refused(invalid, "in groups of 64 by the configuration", awq, [](Folder& f) { f.config["group_size"] = 64; });
  refused(invalid, "is there both quantized and as it was", gptq, [](Folder& f) {
    f.add(".weight", DType::f32, {1, 1}, std::vector<float>{0});
  });
}

TEST_F(PackedFolders, PlainWeightsAreReadWhateverConfigSays) {
  for (const char* method : {"gptq", "awq"}) {
    TinyModel tiny("llama2");
    tiny.config["quantization_config"] = {{"quant_method", method}, {"bits", 77}};
    const auto path = next();
    tiny.write(path);
    EXPECT_EQ(open_model(path)->tensors().size(), tiny.tensors.size());
  }
}

}  // namespace
}  // namespace mxq
