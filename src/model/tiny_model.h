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
};

inline std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const auto& [name, model] : reference()["models"].items()) names.push_back(name);
  return names;
}

}  // namespace mxq
