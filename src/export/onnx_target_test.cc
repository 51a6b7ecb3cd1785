// What the target for onnxruntime promises is what its files hold, and what it writes comes back; what it has no place
// for is named.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/half.h"
#include "base/mapped_file.h"
#include "expect_error.h"
#include "export/target_fixture.h"
#include "format/onnx.h"
#include "format/safetensors.h"
#include "model/onnx_graph.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {
namespace {

QuantizeOptions usual_options() {
  QuantizeOptions options{Fit::mse, 1, Metadata::f16_bias};
  options.feedback.zero_point = ZeroPoint::symmetric;
  return options;
}

struct OnnxTargets : TargetFixture {
  OnnxTargets() : TargetFixture(onnx_target(), usual_options(), {{}, true}) { scheme = {4, 16}; }

  OnnxModel graph() const {
    const std::string bytes = read_file(out / "model.onnx");
    return parse_onnx(std::as_bytes(std::span(bytes)), "model.onnx");
  }
  void put(const OnnxModel& model) const { std::ofstream(out / "model.onnx", std::ios::binary) << print_onnx(model); }
};

TEST_F(OnnxTargets, BytesAreWhatWasPromised) {
  for (const Scheme& one : {Scheme{4, 16}, {8, 16}}) {
    scheme = one;
    open("llama2");
    const RestBytes rest = target.rest(*model, matrices);
    int64_t promised = 0;
    for (const auto* tensor : matrices) {
      ASSERT_TRUE(target.holds(scheme, options, tensor->rows(), tensor->cols()));
      promised += target.matrix_bytes(scheme, options, tensor->rows(), tensor->cols());
      // Codes, and a scale of 16 bits for each group.
      EXPECT_EQ(target.matrix_bytes(scheme, options, tensor->rows(), tensor->cols()),
                tensor->elements() * scheme.bits / 8 + tensor->elements() / scheme.group * 2);
    }
    for (const int64_t shard : {int64_t{1} << 40, int64_t{8'000}}) {
      std::filesystem::remove_all(out);
      WriteOptions how;
      how.max_shard_bytes = shard;
      const WriteReport report = write(how);
      EXPECT_EQ(report.matrix_bytes, promised);
      int64_t files = 0, headers = report.files.at("model.onnx"), shards = 0;
      for (const auto& [name, bytes] : report.files) {
        EXPECT_FALSE(name.ends_with(".safetensors") || name.ends_with(".index.json")) << name;
        if (!name.ends_with(".onnx.data")) continue;
        EXPECT_EQ(bytes, static_cast<int64_t>(std::filesystem::file_size(out / name)));
        files += bytes;
        headers += header_of(out / name);
        ++shards;
      }
      EXPECT_EQ(shards > 1, shard == 8'000);
      EXPECT_EQ(files + report.files.at("model.onnx") - headers, rest.tensors + promised);
      EXPECT_LE(headers, rest.headers + shards * 256) << shards << " shards";
      EXPECT_GT(headers, rest.headers / 2) << "the bound is a loose one";
    }
  }
}

TEST_F(OnnxTargets, ComesBackBitForBit) {
  for (const char* name : {"llama2", "qwen2", "gemma3", "phi3", "glm4", "cohere2", "olmo2"}) {
    for (const int64_t shard : {int64_t{1} << 40, int64_t{8'000}}) {
      SCOPED_TRACE(name);
      open(name);
      WriteOptions how;
      how.max_shard_bytes = shard;
      write(how);
      const auto again = open_model(out);
      for (const auto* tensor : matrices) {
        const SourceTensor* const stored = again->find(tensor->name);
        ASSERT_NE(stored, nullptr) << tensor->name;
        EXPECT_EQ(stored->stored_as, "b4g16");
        Values expected(static_cast<size_t>(tensor->elements()));
        dequantize_matrix(quantized(*tensor).view(), expected.data());
        EXPECT_EQ(weights_of(*again, *stored), expected) << tensor->name;
      }
      for (const auto& tensor : model->tensors()) {
        if (std::find(matrices.begin(), matrices.end(), &tensor) != matrices.end()) continue;
        Values expected = weights_of(*model, tensor);
        for (float& w : expected) w = f32_from_f16(f16_from_f32(w));
        EXPECT_EQ(weights_of(*again, *again->find(tensor.name)), expected) << tensor.name;
      }
      std::vector<std::string> notes;
      for (const auto& [file, text] : again->side_files(notes)) EXPECT_FALSE(file.find("genai") == 0) << file;
    }
  }
}

TEST_F(OnnxTargets, MatricesThatArePlainComeBackToo) {
  open("qwen2");
  std::erase_if(matrices, [](const SourceTensor* tensor) {
    return tensor->role != TensorRole::matrix || tensor->name.find("down_proj") != std::string::npos;
  });
  write();
  const auto again = open_model(out);
  EXPECT_EQ(again->find("model.embed_tokens.weight")->stored_as, "F16");
  EXPECT_EQ(again->find("model.layers.0.mlp.down_proj.weight")->stored_as, "F16");
  EXPECT_EQ(again->find("model.layers.0.mlp.up_proj.weight")->stored_as, "b4g16");
  const auto nodes = graph().nodes;
  EXPECT_TRUE(std::ranges::none_of(nodes, [](const OnnxNode& node) { return node.op == "GatherBlockQuantized"; }));
}

/// The numbers are where the graph says, and its file of data is one of safetensors too.
TEST_F(OnnxTargets, PlacesAreThoseOfTheData) {
  open("llama2");
  write();
  const MappedFile data(out / "model.onnx.data");
  const auto tensors = parse_safetensors(data.bytes(), "model.onnx.data").tensors;
  int places = 0;
  for (const OnnxTensor& tensor : graph().initializers) {
    const auto* const place = std::get_if<OnnxTensor::Place>(&tensor.data);
    if (place == nullptr) continue;
    ++places;
    EXPECT_EQ(place->file, "model.onnx.data");
    const auto found = std::ranges::find_if(tensors, [&](const TensorView& view) { return view.name == tensor.name; });
    ASSERT_NE(found, tensors.end()) << tensor.name;
    EXPECT_EQ(found->bytes.data() - data.bytes().data(), place->offset);
    EXPECT_EQ(std::ssize(found->bytes), place->bytes);
    EXPECT_EQ(found->shape, tensor.shape);
    EXPECT_EQ(place->offset % onnx_type_bytes(tensor.type), 0) << tensor.name;
  }
  EXPECT_EQ(places, std::ssize(tensors));
}

TEST_F(OnnxTargets, GenaiIsToldOfTheModel) {
  open("qwen2");
  write();
  const Json whole = Json::parse(read_file(out / "genai_config.json")), config = Json::parse(model->config_json());
  const Json& of = whole["model"];
  EXPECT_EQ(of["type"], "qwen2");
  EXPECT_EQ(of["vocab_size"], config["vocab_size"]);
  EXPECT_EQ(of["context_length"], config["max_position_embeddings"]);
  EXPECT_EQ(of["decoder"]["num_key_value_heads"], config["num_key_value_heads"]);
  EXPECT_EQ(of["decoder"]["filename"], "model.onnx");
  EXPECT_EQ(Json::parse(read_file(out / "config.json"))["torch_dtype"], "float16");
}

TEST_F(OnnxTargets, WhatTheFormatHasNoPlaceForIsNamed) {
  const auto refused = [this](const QuantizeOptions& how, Scheme in, const char* why) {
    expect_error(ErrorCode::usage, why, [&] { target.check(how, {&in, 1}); });
  };
  const QuantizeOptions right = usual_options();
  target.check(right, target.usual_schemes());
  refused(right, {3, 64}, "b3g64 for the format onnx; expected b2 with g32 to g128, b4 or b8");
  refused(right, {2, 16}, "b2g16 for the format onnx");
  refused(right, parse_scheme("gauss3g64"), "gauss3g64 for the format onnx");
  const auto with = [&](const auto& change) {
    QuantizeOptions how = right;
    change(how);
    return how;
  };
  refused(with([](auto& how) { how.metadata = Metadata::bf16_bias; }), {4, 64},
          "metadata: bf16-bias for the format onnx");
  refused(with([](auto& how) { how.axis = 0; }), {4, 64}, "axis: 0 for the format onnx");
  refused(with([](auto& how) { how.fit = Fit::hqq; }), {4, 64}, "fit: hqq for the format onnx; expected gptq or mse");
  refused(with([](auto& how) { how.normalize = Normalize::rotation; }), {4, 64}, "normalize: rotation for the format");
  refused(with([](auto& how) { how.feedback.zero_point = ZeroPoint::real; }), {4, 64}, "zero-point: real for the");
  open("llama2");
  scheme = {4, 64};
  expect_error(ErrorCode::usage, "64 x 32, in b4g64; expected groups that divide its columns", [&] { write(); });
}

TEST_F(OnnxTargets, ModelsThatItHasNoGraphOfAreRefusedByName) {
  const auto refused = [this](const std::string& name, const char* why, const auto& change) {
    TinyModel tiny(name);
    change(tiny);
    std::filesystem::remove_all(folder.path() / "model");
    tiny.write(folder.path() / "model");
    const auto opened = open_model(folder.path() / "model");
    expect_error(ErrorCode::unsupported, why, [&] { target.check_model(*opened); });
  };
  const auto as_it_is = [](TinyModel&) {};
  for (const char* name : {"mixtral", "gpt_oss", "qwen3_5", "ministral"})
    refused(name, "a model of the type", as_it_is);
  for (const char* name : {"llama_dynamic", "llama_longrope", "phi3_longrope"})
    refused(name, "'rope_scaling' of type", as_it_is);
  refused("llama2", "'lm_head.weight' beside the embedding",
          [](TinyModel& tiny) { tiny.config["tie_word_embeddings"] = true; });
}

TEST_F(OnnxTargets, NothingIsLeftOfWhatFails) {
  open("llama2");
  Export what = all_in_one_scheme();
  what.matrices.back().make = []() -> QuantizedMatrix { throw Error(ErrorCode::io, "test", "stopped"); };
  EXPECT_THROW(target.write(what, {out, false, {}}, {}, nullptr), Error);
  EXPECT_FALSE(std::filesystem::exists(out));
}

/// Others' graphs, and ours that have been changed: what is not computed as config.json says would be measured wrongly.
TEST_F(OnnxTargets, GraphsThatAreNotOursAreNamed) {
  open("llama2");
  write();
  const OnnxModel good = graph();
  const auto refused = [&](ErrorCode code, const char* why, const std::function<void(OnnxModel&)>& change) {
    OnnxModel changed = good;
    change(changed);
    put(changed);
    expect_error(code, why, [&] { open_model(out); });
  };
  using enum ErrorCode;
  const auto node = [](OnnxModel& m, const char* name) -> OnnxNode& {
    return *std::ranges::find_if(m.nodes, [&](const OnnxNode& one) { return one.name == name; });
  };
  const auto set = [&](const char* name, const char* attribute, int64_t value) {
    return [=](OnnxModel& m) {
      for (auto& one : node(m, name).attributes) {
        if (one.name == attribute) one.value = value;
      }
    };
  };
  const auto place = [](OnnxModel& m) -> OnnxTensor::Place& {
    return std::get<OnnxTensor::Place>(m.initializers.front().data);
  };
  refused(unsupported, "an ONNX model of 'pytorch'", [](OnnxModel& m) { m.producer = "pytorch"; });
  refused(unsupported, "version '2' of mxq's graphs", [](OnnxModel& m) { m.metadata["mxq.graph"] = "2"; });
  refused(unsupported, "a graph of", [](OnnxModel& m) { m.nodes.pop_back(); });
  refused(not_found, "'model.layers.1.self_attn.q_proj.weight' is missing",
          [&](OnnxModel& m) { node(m, "layers.1.q").op = "MatMul"; });
  refused(unsupported, "node 'layers.0.gate.open' is not as mxq writes it",
          [&](OnnxModel& m) { node(m, "layers.0.gate.open").op = "Tanh"; });
  refused(unsupported, "node 'layers.0.heads' is not as", set("layers.0.heads", "local_window_size", 5));
  refused(unsupported, "node 'layers.0.q' has 3 bits in blocks of 16", set("layers.0.q", "bits", 3));
  refused(invalid_file, "has the shape", set("layers.0.q", "bits", 8));
  refused(invalid_file, "has the shape", set("layers.0.q", "block_size", 32));
  refused(unsupported, "its set of operators", [](OnnxModel& m) { m.opsets[""] = 20; });
  refused(unsupported, "its list of inputs and outputs", [](OnnxModel& m) { m.outputs.pop_back(); });
  const auto frequencies = [](OnnxModel& m) -> OnnxTensor& {
    return *std::ranges::find_if(m.initializers, [](const auto& one) { return one.name == "rope.frequencies"; });
  };
  refused(unsupported, "no initializer 'rope.frequencies'", [&](OnnxModel& m) { frequencies(m).name = "other"; });
  refused(unsupported, "initializer 'rope.frequencies' is not as mxq writes it",
          [&](OnnxModel& m) { std::get<std::string>(frequencies(m).data)[3] ^= 1; });
  refused(unsupported, "initializers; expected", [](OnnxModel& m) {
    m.initializers.push_back({"more", OnnxType::f32, {0}});
  });
  refused(invalid_file, "lies in '../model.onnx.data'", [&](OnnxModel& m) { place(m).file = "../model.onnx.data"; });
  refused(invalid_file, "lies in '/etc/passwd'", [&](OnnxModel& m) { place(m).file = "/etc/passwd"; });
  refused(invalid_file, "expected a place within the file", [&](OnnxModel& m) { place(m).offset = int64_t{1} << 62; });
  refused(not_found, "none.onnx.data", [&](OnnxModel& m) { place(m).file = "none.onnx.data"; });
  // How MatMulNBits rounds its inputs is for the user to say.
  OnnxModel exact = good;
  set("layers.0.q", "accuracy_level", 1)(exact);
  put(exact);
  EXPECT_EQ(open_model(out)->find("model.layers.0.self_attn.q_proj.weight")->stored_as, "b4g16");
  put(good);
  const std::string data = read_file(out / "model.onnx.data");
  std::ofstream(out / "model.onnx.data", std::ios::binary) << data.substr(0, data.size() - 1);
  expect_error(invalid_file, "expected a place within the file", [&] { open_model(out); });
  std::ofstream(out / "model.onnx.data", std::ios::binary) << data;
  Json config = Json::parse(read_file(out / "config.json"));
  config["rms_norm_eps"] = 0.25;
  std::ofstream(out / "config.json") << config.dump();
  expect_error(unsupported, "is not as mxq writes it for this config.json", [&] { open_model(out); });
}

}  // namespace
}  // namespace mxq
