// What is read once does not stay in memory.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "format/safetensors_writer.h"
#include "model/model_state.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

/// Bytes of the file that are mapped and resident.
int64_t resident_bytes(const std::filesystem::path& path) {
  std::ifstream maps("/proc/self/smaps");
  int64_t bytes = 0;
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(" kB") == std::string::npos && line.find('-') != std::string::npos) {
      inside = line.ends_with(path.string());
    } else if (inside && line.starts_with("Rss:")) {
      bytes += std::stoll(line.substr(4)) * 1024;
    }
  }
  return bytes;
}

constexpr int64_t kRows = 512, kCols = 300, kMatrices = 128;  // 300 KiB each, so that pages hold parts of two

TEST(ModelMemory, AHashedModelIsLetGo) {
  TemporaryFolder folder;
  std::vector<TensorSpec> specs;
  for (int64_t i = 0; i < kMatrices; ++i) {
    specs.push_back({"model.layers." + std::to_string(i) + ".mlp.up_proj.weight", DType::f16, {kRows, kCols}});
  }
  const auto path = folder / "model.safetensors";
  SafetensorsWriter writer(path, specs);
  const std::vector<std::byte> bytes(static_cast<size_t>(2 * kRows * kCols), std::byte{1});
  for (int64_t i = 0; i < kMatrices; ++i) writer.write(bytes);
  writer.commit();

  Model::State state(path);
  const SourceTensor& first = state.source().tensors().front();
  std::vector<float> values(static_cast<size_t>(first.elements()));
  state.source().read(first, values.data());
  EXPECT_GE(resident_bytes(path), std::ssize(bytes)) << "the measure sees what is read";
  EXPECT_FALSE(state.content_id(nullptr).empty());
  EXPECT_LE(resident_bytes(path), 4 << 20);
  // Nor does a model of which each matrix is let go where it has been read.
  for (const SourceTensor& tensor : state.source().tensors()) {
    state.source().read(tensor, values.data());
    state.source().done(tensor);
    EXPECT_LE(resident_bytes(path), 4 << 20) << tensor.name;
  }
}

}  // namespace
}  // namespace mxq
