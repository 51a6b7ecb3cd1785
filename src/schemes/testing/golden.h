// Test only: reads the reference data's safetensors.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace mxq::testing_data {

inline std::filesystem::path shared_folder() {
  if (const char* set = std::getenv("MXQ_SHARED")) return set;
  return std::filesystem::path(MXQ_SOURCE_DIR) / ".." / "shared";
}

struct GoldenTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<char> bytes;

  template <typename Value>
  std::vector<Value> as() const {
    std::vector<Value> values(bytes.size() / sizeof(Value));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(Value));
    return values;
  }
};

inline std::map<std::string, GoldenTensor> read_golden(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  uint64_t header = 0;
  if (bytes.size() < 8) throw std::runtime_error("cannot read " + path.string());
  std::memcpy(&header, bytes.data(), 8);
  std::map<std::string, GoldenTensor> tensors;
  const auto json = nlohmann::json::parse(bytes.begin() + 8, bytes.begin() + 8 + static_cast<int64_t>(header));
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") continue;
    const auto data = bytes.begin() + 8 + static_cast<int64_t>(header);
    const auto offsets = entry.at("data_offsets").get<std::vector<int64_t>>();
    tensors[name] = {entry.at("dtype"), entry.at("shape"), {data + offsets[0], data + offsets[1]}};
  }
  return tensors;
}

}  // namespace mxq::testing_data
