// Two-layer models of every architecture, whose weights are a formula: shapes, configurations and logits come from
// tests/data/make_tiny_decoders.py.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "format/safetensors_writer.h"
#include "gguf_builder.h"
#include "model/gguf_names.h"
#include "mxq/files.h"

namespace mxq {

using Json = nlohmann::json;
using Values = std::vector<float>;

inline const Json& reference() {
  static const Json all = Json::parse(read_file(MXQ_SOURCE_DIR "/tests/data/tiny_decoders.json"));
  return all;
}

inline std::vector<int32_t> reference_ids() {
  return reference()["ids"];
}

// value() of make_tiny_decoders.py.
inline Values formula(const std::string& name, size_t count) {
  uint64_t seed = 0xCBF29CE484222325;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  Values values;
  for (uint64_t i = 1; i <= count; ++i) {
    uint64_t z = seed + i * 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
    const float uniform = (static_cast<float>(z >> 48) - 32768) / 32768;
    values.push_back(name.ends_with("norm.weight") ? 1 + uniform / 4 : uniform / 2);
  }
  return values;
}

struct Tensor {
  std::vector<int64_t> shape;
  Values values;
};

struct TinyModel {
  Json config;
  std::map<std::string, Tensor> tensors;

  explicit TinyModel(const std::string& name) {
    const Json& model = reference()["models"][name];
    config = model["config"];
    for (const auto& [tensor, shape] : model["tensors"].items()) {
      size_t count = 1;
      for (const size_t extent : shape) count *= extent;
      tensors[tensor] = {shape, formula(tensor, count)};
    }
  }

  // As a Hugging Face folder.
  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json") << config.dump();
    std::vector<TensorSpec> specs;
    for (const auto& [name, tensor] : tensors) specs.push_back({name, DType::f32, tensor.shape});
    SafetensorsWriter writer(folder / "model.safetensors", specs);
    for (const auto& [name, tensor] : tensors) writer.write(std::as_bytes(std::span(tensor.values)));
    writer.commit();
  }

  // As llama.cpp's converter writes it: q and k of Llama and Mistral in pairs of rotated rows.
  void write_gguf(const std::filesystem::path& path) const {
    const std::string type = config["model_type"], prefix = type == "mistral" ? "llama" : type;
    const int64_t heads = config["num_attention_heads"];
    const int64_t head = tensors.at("model.layers.0.self_attn.q_proj.weight").shape[0] / heads;
    GgufBuilder b;
    b.string("general.architecture", prefix);
    const auto u32 = [&](const char* key, const char* field) { b.u32(prefix + key, config[field]); };
    u32(".block_count", "num_hidden_layers");
    u32(".context_length", "max_position_embeddings");
    u32(".embedding_length", "hidden_size");
    u32(".feed_forward_length", "intermediate_size");
    u32(".attention.head_count", "num_attention_heads");
    u32(".attention.head_count_kv", "num_key_value_heads");
    b.u32(prefix + ".attention.key_length", static_cast<uint32_t>(head));
    b.u32(prefix + ".attention.value_length", static_cast<uint32_t>(head));
    b.f32(prefix + ".attention.layer_norm_rms_epsilon", config["rms_norm_eps"]);
    b.f32(prefix + ".rope.freq_base", config["rope_theta"]);
    if (const Json rope = config.value("rope_scaling", Json()); !rope.is_null()) {
      b.string(prefix + ".rope.scaling.type", rope["rope_type"].get<std::string>());
      b.f32(prefix + ".rope.scaling.factor", rope["factor"]);
      if (const Json length = rope.value("original_max_position_embeddings", Json()); !length.is_null()) {
        b.u32(prefix + ".rope.scaling.original_context_length", length);
      }
    }
    if (const Json window = config.value("sliding_window", Json()); !window.is_null()) {
      b.u32(prefix + ".attention.sliding_window", window);
    }
    for (const auto& [name, tensor] : tensors) {
      const std::string gguf_name = gguf_name_from_hf(*find_architecture(prefix), name).value();
      const bool rotated = name.find("q_proj") != std::string::npos || name.find("k_proj") != std::string::npos;
      const bool permute = prefix == "llama" && rotated;
      b.f32_tensor(gguf_name, {tensor.shape.begin(), tensor.shape.end()},
                   permute ? paired_rows(tensor, head) : tensor.values);
    }
    b.write(path);
  }

  // reshape(heads, 2, head / 2, columns).swapaxes(1, 2), as the converter's permute().
  static Values paired_rows(const Tensor& tensor, int64_t head) {
    const int64_t rows = tensor.shape[0], columns = static_cast<int64_t>(tensor.values.size()) / rows;
    Values out;
    for (int64_t first = 0; first < rows; first += head) {
      for (int64_t pair = 0; pair < head / 2; ++pair) {
        for (const int64_t row : {first + pair, first + head / 2 + pair}) {
          const auto begin = tensor.values.begin() + row * columns;
          out.insert(out.end(), begin, begin + columns);
        }
      }
    }
    return out;
  }
};

inline std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const auto& [name, model] : reference()["models"].items()) names.push_back(name);
  return names;
}

}  // namespace mxq
