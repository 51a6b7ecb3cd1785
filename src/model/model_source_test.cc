#include "model/model_source.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>

#include "base/atomic_file.h"
#include "base/half.h"
#include "expect_error.h"
#include "format/safetensors_writer.h"
#include "gguf_builder.h"
#include "model/gguf_names.h"
#include "schemes/stored_matrix.h"
#include "temporary_folder.h"
#include "tiny_gguf.h"

namespace mxq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<float> read_all(const ModelSource& model, const std::string& name) {
  const SourceTensor* tensor = model.find(name);
  if (!tensor) throw Error(ErrorCode::not_found, "test", name);
  std::vector<float> values(static_cast<size_t>(tensor->elements()));
  model.read(*tensor, values.data());
  return values;
}

// TinyGguf's values as the file holds them.
std::vector<float> file_values(const std::string& gguf_name, uint64_t count) {
  std::vector<float> values(count);
  for (uint64_t i = 0; i < count; ++i) values[i] = TinyGguf::value(gguf_name, i);
  return values;
}

// The HF tensor by the definition of the conversion: of each head the file has row r of HF's first half, then row r of
// its second half.
std::vector<float> unpermuted(const std::vector<float>& file, uint64_t head, uint64_t columns) {
  std::vector<float> hf(file.size());
  size_t at = 0;
  for (uint64_t h = 0; h < file.size() / columns / head; ++h) {
    for (uint64_t r = 0; r < head / 2; ++r) {
      for (uint64_t row : {h * head + r, h * head + head / 2 + r}) {
        for (uint64_t c = 0; c < columns; ++c) hf[row * columns + c] = file[at++];
      }
    }
  }
  return hf;
}

TEST(ModelSource, OpensGgufUnderHuggingFaceNames) {
  const TemporaryFolder folder;
  TinyGguf tiny;
  tiny.separate_output = true;
  tiny.builder().write(folder / "tiny.gguf");
  for (const auto& path : {folder / "tiny.gguf", folder.path()}) {
    const auto model = open_model(path);
    EXPECT_EQ(model->architecture(), "llama");
    ASSERT_TRUE(model->config());
    EXPECT_EQ(model->config()->num_hidden_layers, 2);
    EXPECT_EQ(model->tensors().size(), 2u * 9 + 3);
    int matrices = 0;
    for (const auto& tensor : model->tensors()) matrices += tensor.matrix && tensor.matrix->in_layer();
    EXPECT_EQ(matrices, 14);

    const SourceTensor* down = model->find("model.layers.1.mlp.down_proj.weight");
    ASSERT_NE(down, nullptr);
    EXPECT_THAT(down->shape, ElementsAre(32, 64));
    EXPECT_EQ(down->dtype, DType::f32);
    EXPECT_EQ(down->matrix->layer, "1");
    EXPECT_EQ(down->matrix->module, "mlp.down_proj");
    EXPECT_EQ(read_all(*model, down->name), file_values("blk.1.ffn_down.weight", 32 * 64));
    EXPECT_EQ(read_all(*model, "lm_head.weight"), file_values("output.weight", 4 * 32));
    EXPECT_FALSE(model->find("lm_head.weight")->matrix->in_layer());
    EXPECT_EQ(model->find("blk.1.ffn_down.weight"), nullptr);
    model->done(*down);  // a hint: the values stay readable
    EXPECT_EQ(read_all(*model, down->name), file_values("blk.1.ffn_down.weight", 32 * 64));
  }
}

TEST(ModelSource, UndoesThePermutationOfLlama) {
  const TemporaryFolder folder;
  TinyGguf tiny;
  tiny.qkv_bias = true;
  tiny.builder().write(folder / "llama.gguf");
  const auto model = open_model(folder / "llama.gguf");
  EXPECT_EQ(read_all(*model, "model.layers.0.self_attn.q_proj.weight"),
            unpermuted(file_values("blk.0.attn_q.weight", 32 * 32), 8, 32));
  EXPECT_EQ(read_all(*model, "model.layers.1.self_attn.k_proj.weight"),
            unpermuted(file_values("blk.1.attn_k.weight", 16 * 32), 8, 32));
  EXPECT_EQ(read_all(*model, "model.layers.0.self_attn.q_proj.bias"),
            unpermuted(file_values("blk.0.attn_q.bias", 32), 8, 1));
  EXPECT_EQ(read_all(*model, "model.layers.0.self_attn.v_proj.weight"), file_values("blk.0.attn_v.weight", 16 * 32));
  EXPECT_EQ(read_all(*model, "model.layers.0.self_attn.v_proj.bias"), file_values("blk.0.attn_v.bias", 16));
  EXPECT_FALSE(model->plain_bytes(*model->find("model.layers.0.self_attn.q_proj.weight")));
  EXPECT_FALSE(model->plain_bytes(*model->find("model.layers.0.self_attn.k_proj.bias")));
  EXPECT_TRUE(model->plain_bytes(*model->find("model.layers.0.self_attn.v_proj.weight")));
}

TEST(ModelSource, QwenIsNotPermuted) {
  for (const char* architecture : {"qwen2", "qwen3"}) {
    const TemporaryFolder folder;
    TinyGguf tiny;
    tiny.architecture = architecture;
    tiny.qkv_bias = tiny.architecture == "qwen2";
    tiny.head_norms = tiny.architecture == "qwen3";
    tiny.builder().write(folder / "qwen.gguf");
    const auto model = open_model(folder / "qwen.gguf");
    EXPECT_EQ(model->architecture(), architecture);
    EXPECT_EQ(read_all(*model, "model.layers.0.self_attn.q_proj.weight"), file_values("blk.0.attn_q.weight", 32 * 32));
    if (tiny.qkv_bias) {
      EXPECT_EQ(read_all(*model, "model.layers.0.self_attn.k_proj.bias"), file_values("blk.0.attn_k.bias", 16));
    } else {
      EXPECT_EQ(read_all(*model, "model.layers.0.self_attn.q_norm.weight"), file_values("blk.0.attn_q_norm.weight", 8));
    }
  }
}

TEST(ModelSource, ReadsRangesOfRows) {
  const TemporaryFolder folder;
  TinyGguf().builder().write(folder / "tiny.gguf");
  const auto model = open_model(folder / "tiny.gguf");
  for (const char* name : {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.o_proj.weight",
                           "model.layers.1.input_layernorm.weight"}) {
    const SourceTensor& tensor = *model->find(name);
    const auto whole = read_all(*model, name);
    const int64_t columns = tensor.elements() / tensor.rows();
    for (int64_t first = 0; first <= tensor.rows(); ++first) {
      for (int64_t count = 0; count <= tensor.rows() - first; ++count) {
        std::vector<float> part(static_cast<size_t>(count * columns));
        model->read_rows(tensor, first, count, part.data());
        ASSERT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + first * columns)) << first << " " << count;
      }
    }
    for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{
             {-1, 1}, {0, 33}, {33, 0}, {1, -1}, {1, std::numeric_limits<int64_t>::max()}}) {
      expect_error(ErrorCode::usage, std::string("read tensor '") + name + "': ", [&, first = first, count = count] {
        model->read_rows(tensor, first, count, nullptr);
      });
    }
  }
}

// A Q8_0 block: fp16 scale, 32 codes.
std::string q8_blocks(int64_t blocks, float scale, int8_t first) {
  std::string bytes;
  for (int64_t b = 0; b < blocks; ++b) {
    const uint16_t half = f16_from_f32(scale);
    bytes.append(reinterpret_cast<const char*>(&half), 2);
    for (int i = 0; i < 32; ++i) bytes += static_cast<char>(first + static_cast<int8_t>(i + b));
  }
  return bytes;
}

TEST(ModelSource, BlocksBecomeF16UnlessTheyWouldOverflow) {
  for (const auto& [scale, dtype] : {std::pair{0.5f, DType::f16}, std::pair{1000.f, DType::f32}}) {
    const TemporaryFolder folder;
    TinyGguf tiny;
    tiny.without = {"token_embd.weight", "blk.0.attn_q.weight"};
    GgufBuilder builder = tiny.builder();
    builder.u32("llama.vocab_size", 4).tensor("token_embd.weight", 8, {4, 32}, q8_blocks(4, scale, 40));
    builder.tensor("blk.0.attn_q.weight", 8, {32, 32}, q8_blocks(32, scale, -16));
    builder.write(folder / "tiny.gguf");
    const auto model = open_model(folder / "tiny.gguf");
    const SourceTensor& embedding = *model->find("model.embed_tokens.weight");
    EXPECT_EQ(embedding.dtype, DType::q8_0);
    EXPECT_EQ(model->output_dtype(embedding), dtype);
    EXPECT_EQ(model->output_dtype(embedding), dtype);
    EXPECT_FALSE(model->plain_bytes(embedding));
    EXPECT_EQ(read_all(*model, embedding.name)[33], scale * 42);  // row 1, column 1
    ASSERT_TRUE(model->exact_layout(embedding));
    std::vector<float> kept(4 * 32);
    dequantize_matrix(model->exact_groups(embedding).view(), kept.data());
    EXPECT_EQ(kept, read_all(*model, embedding.name)) << "Q8_0 blocks are kept bit for bit";
    EXPECT_FALSE(model->exact_layout(*model->find("model.layers.0.self_attn.q_proj.weight")))
        << "its rows are permuted";
    // A permuted block tensor: HF's row 1 lies in the file's row 2.
    const auto query = read_all(*model, "model.layers.0.self_attn.q_proj.weight");
    EXPECT_EQ(query[32 + 5], scale * (-16 + 5 + 2));
    const SourceTensor& norm = *model->find("model.norm.weight");
    EXPECT_EQ(model->output_dtype(norm), DType::f32);
    EXPECT_EQ(model->plain_bytes(norm)->size(), 128u);
  }
}

TEST(ModelSource, NamesBlocksWhoseScaleIsNoNumber) {
  for (const float scale : {NAN, INFINITY}) {
    const TemporaryFolder folder;
    TinyGguf tiny;
    tiny.without = {"token_embd.weight", "blk.0.attn_q.weight"};
    GgufBuilder builder = tiny.builder();
    builder.u32("llama.vocab_size", 4);
    builder.tensor("token_embd.weight", 8, {4, 32},
                   q8_blocks(2, 1, 40) + q8_blocks(1, scale, 40) + q8_blocks(1, 1, 40));
    builder.tensor("blk.0.attn_q.weight", 8, {32, 32}, q8_blocks(32, 1, 1));
    builder.write(folder / "tiny.gguf");
    const auto model = open_model(folder / "tiny.gguf");
    const SourceTensor& embedding = *model->find("model.embed_tokens.weight");
    std::vector<float> values(4 * 32);
    const std::string says = fmt::format("'model.embed_tokens.weight' holds {} at row 2, column 0", scale);
    expect_error(ErrorCode::not_finite, says, [&] { model->read(embedding, values.data()); });
    expect_error(ErrorCode::not_finite, says, [&] { model->read_rows(embedding, 2, 1, values.data()); });
    model->read_rows(embedding, 3, 1, values.data());
    model->copy_rows(embedding, 0, 4, values.data());
    // Groups that stay as they are do so only where their scales are numbers.
    const QuantizedMatrix groups = model->exact_groups(embedding);
    expect_error(ErrorCode::not_finite, fmt::format("'e.scales' holds {} at 2", scale),
                 [&] { check_numbers("e", groups.view()); });
  }
}

TEST(ModelSource, RefusesGgufFilesThatAreNotWhole) {
  const TemporaryFolder folder;
  const auto path = folder / "tiny.gguf";
  const auto refused = [&](ErrorCode code, const std::string& message, const GgufBuilder& builder) {
    builder.write(path);
    expect_error(code, message, [&] { open_model(path); });
  };
  const auto invalid = ErrorCode::invalid_file;
  for (const char* name :
       {"output_norm.weight", "blk.0.attn_norm.weight", "blk.1.ffn_down.weight", "blk.1.attn_k.weight"}) {
    TinyGguf tiny;
    tiny.without = {name};
    refused(invalid, std::string("tensor '") + name + "' is missing", tiny.builder());
  }
  TinyGguf tiny;
  tiny.shapes = {{"blk.1.ffn_up.weight", {64, 64}}};
  refused(invalid, "tensor 'blk.1.ffn_up.weight' has shape [64, 64]; expected [64, 32] by the metadata",
          tiny.builder());
  tiny.shapes = {{"blk.0.attn_k.weight", {32, 32}}};
  refused(invalid, "tensor 'blk.0.attn_k.weight' has 32 rows; expected 2 heads of 8", tiny.builder());
  refused(ErrorCode::unsupported, "tensor 'blk.0.ffn_gate_exps.weight'",
          TinyGguf().builder().f32_tensor("blk.0.ffn_gate_exps.weight", {1}, {1}));
  GgufBuilder split = TinyGguf().builder();
  split.u32("split.no", 1).u32("split.count", 3);
  refused(invalid, "by its metadata the file is part 2 of 3 of a model", split);
  refused(ErrorCode::unsupported, "architecture 'bert'", GgufBuilder().string("general.architecture", "bert"));
}

TEST(ModelSource, OpensAModelInParts) {
  const TemporaryFolder folder;
  TinyGguf tiny;
  tiny.builder().write(folder / "whole.gguf");
  tiny.without = {"blk.1.ffn_down.weight", "output_norm.weight"};
  const auto numbered = [](GgufBuilder builder, uint32_t number) {
    builder.u32("split.no", number).u32("split.count", 2).u32("split.tensors.count", 20);
    return builder;
  };
  std::filesystem::create_directory(folder / "parts");
  const auto first = folder / "parts" / "m-00001-of-00002.gguf", second = folder / "parts" / "m-00002-of-00002.gguf";
  numbered(tiny.builder(), 0).write(first);
  expect_error(ErrorCode::not_found, "part 2 of 2 is missing: " + second.string(), [&] { open_model(first); });
  GgufBuilder rest;
  rest.f32_tensor("blk.1.ffn_down.weight", {32, 64}, file_values("blk.1.ffn_down.weight", 32 * 64));
  rest.f32_tensor("output_norm.weight", {32}, file_values("output_norm.weight", 32));
  numbered(rest, 1).write(second);
  const auto whole = open_model(folder / "whole.gguf");
  for (const auto& path : {first, folder / "parts"}) {
    const auto model = open_model(path);
    EXPECT_THAT(model->weight_files(), ElementsAre(first, second));
    ASSERT_EQ(model->tensors().size(), whole->tensors().size());
    for (const SourceTensor& tensor : whole->tensors()) {
      EXPECT_EQ(read_all(*model, tensor.name), read_all(*whole, tensor.name)) << tensor.name;
    }
  }
  expect_error(ErrorCode::unsupported, "expected the first part, " + first.string(), [&] { open_model(second); });
  expect_error(ErrorCode::unsupported, "expected the first part, " + first.string(), [&] { open_tokenizer(second); });
  std::filesystem::remove(first);
  std::filesystem::copy_file(second, folder / "parts" / "m-00003-of-00004.gguf");
  expect_error(ErrorCode::unsupported, "the folder has 2 .gguf files", [&] { open_model(folder / "parts"); });
}

// --- Hugging Face -------------------------------------------------------------------------------------------------

constexpr const char* kConfig = R"({"model_type": "gemma9", "hidden_size": 8, "intermediate_size": 16,
  "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 4})";

void write_safetensors(const std::filesystem::path& path) {
  const std::vector<TensorSpec> specs{{"model.layers.0.mlp.up_proj.weight", DType::bf16, {2, 3}},
                                      {"model.layers.0.mlp.down_proj.weight", DType::i64, {1, 2}},
                                      {"model.layers.0.self_attn.q_proj.weight", DType::f32, {0, 4}},
                                      {"model.norm.weight", DType::f32, {2}}};
  SafetensorsWriter writer(path, specs);
  std::vector<uint16_t> up;
  for (int i = 0; i < 6; ++i) up.push_back(bf16_from_f32(static_cast<float>(i) - 2));
  writer.write(std::as_bytes(std::span(up)));
  const std::vector<int64_t> down{1, 2};
  writer.write(std::as_bytes(std::span(down)));
  const std::vector<float> norm{0.5f, 1.5f};
  writer.write(std::as_bytes(std::span(norm)));
  writer.commit();
}

TEST(ModelSource, OpensHuggingFaceFoldersAndSingleFiles) {
  const TemporaryFolder folder;
  write_safetensors(folder / "model.safetensors");
  expect_error(ErrorCode::not_found, "the folder has no config.json", [&] { open_model(folder.path()); });
  write_file(folder / "config.json", kConfig);
  for (const auto& path : {folder.path(), folder / "model.safetensors"}) {
    const auto model = open_model(path);
    const bool whole = path == folder.path();
    EXPECT_EQ(model->architecture(), whole ? "gemma9" : "");
    EXPECT_EQ(model->config().has_value(), whole);
    EXPECT_EQ(model->path(), path);
    ASSERT_EQ(model->tensors().size(), 4u);
    const SourceTensor& up = *model->find("model.layers.0.mlp.up_proj.weight");
    EXPECT_EQ(up.dtype, DType::bf16);
    EXPECT_TRUE(up.matrix);
    EXPECT_THAT(read_all(*model, up.name), ElementsAre(-2, -1, 0, 1, 2, 3));
    EXPECT_EQ(model->plain_bytes(up)->size(), 12u);
    EXPECT_EQ(model->output_dtype(up), DType::bf16);
    EXPECT_THAT(read_all(*model, "model.norm.weight"), ElementsAre(0.5f, 1.5f));
    // Neither integers nor empty tensors are matrices to plan for.
    const SourceTensor& down = *model->find("model.layers.0.mlp.down_proj.weight");
    EXPECT_FALSE(down.matrix);
    EXPECT_EQ(model->plain_bytes(down)->size(), 16u);
    expect_error(ErrorCode::unsupported, "model.layers.0.mlp.down_proj.weight", [&] { read_all(*model, down.name); });
    EXPECT_FALSE(model->find("model.layers.0.self_attn.q_proj.weight")->matrix);
    EXPECT_TRUE(read_all(*model, "model.layers.0.self_attn.q_proj.weight").empty());
    EXPECT_EQ(model->find("nothing"), nullptr);
  }
}

TEST(ModelSource, RefusesWhatIsNoModel) {
  const TemporaryFolder folder;
  expect_error(ErrorCode::not_found, "no such file or folder", [&] { open_model(folder / "absent"); });
  expect_error(ErrorCode::not_found, "the folder is empty", [&] { open_model(folder.path()); });
  write_file(folder / "model.pth", "x");
  expect_error(ErrorCode::unsupported, "does not begin as those of torch.save do",
               [&] { open_model(folder / "model.pth"); });
  TinyGguf().builder().write(folder / "a.gguf");
  TinyGguf().builder().write(folder / "b.gguf");
  expect_error(ErrorCode::unsupported, "the folder has 2 .gguf files", [&] { open_model(folder.path()); });
  // Safetensors beside a GGUF are the model.
  write_safetensors(folder / "model.safetensors");
  expect_error(ErrorCode::not_found, "no config.json", [&] { open_model(folder.path()); });
  write_file(folder / "config.json", R"({"model_type": "llama"})");
  expect_error(ErrorCode::invalid_file, "'hidden_size' is missing", [&] { open_model(folder.path()); });
  std::string quantized = kConfig;
  quantized.insert(1, R"("quantization_config": {"quant_method": "aqlm"}, )");
  write_file(folder / "config.json", quantized);
  // The tensors say whether that is so: a configuration may be left over from a quantization in memory.
  EXPECT_THAT(open_model(folder.path())->notes(), testing::Contains(testing::HasSubstr("are quantized (aqlm)")));
  for (const char* module : {"mlp.up_proj", "linear_attn.in_proj_qkvz", "linear_attn.in_proj_ba"}) {
    const std::string name = fmt::format("model.layers.0.{}.qweight", module);
    const std::string header = fmt::format(R"({{"{}":{{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}}})", name);
    write_file(folder / "model.safetensors",
               std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + "abcd");
    expect_error(ErrorCode::unsupported,
                 fmt::format("quantized already: '{}' is I32 (quantization_config: aqlm)", name),
                 [&] { open_model(folder.path()); });
  }
}

TEST(ModelSource, RealModelHas210MatricesInLayers) {
  const char* path = std::getenv("MXQ_SMOLLM2_GGUF");
  if (!path) GTEST_SKIP() << "set MXQ_SMOLLM2_GGUF to SmolLM2-135M-Instruct.Q4_1.gguf";
  const auto model = open_model(path);
  int64_t matrices = 0, parameters = 0;
  for (const auto& tensor : model->tensors()) {
    parameters += tensor.elements();
    matrices += tensor.matrix && tensor.matrix->in_layer();
  }
  EXPECT_EQ(matrices, 210);
  EXPECT_EQ(parameters, 134515008);  // as transformers counts them
  EXPECT_EQ(model->output_dtype(*model->find("model.embed_tokens.weight")), DType::f16);
  EXPECT_EQ(kv_cache_bytes(*model->config(), 1), 2 * 30 * 3 * 64 * 2);
}

}  // namespace
}  // namespace mxq
