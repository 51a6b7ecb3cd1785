// Any "quantization_config" beside any safetensors must be answered with a model, all of whose tensors can be read, or
// an Error. Input: the JSON of the one, a zero byte, the other file.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "model/model_source.h"
#include "mxq/error.h"

namespace {

// What a row or a tensor has more of than this is read by none of the tests either.
constexpr int64_t kMost = 1 << 20;

constexpr std::string_view kConfig =
    R"({"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,)"
    R"( "num_attention_heads": 2, "vocab_size": 32, "quantization_config": )";

void read_all(const mxq::ModelSource& model) {
  for (const mxq::SourceTensor& tensor : model.tensors()) {
    if (tensor.elements() > kMost) continue;
    try {
      std::vector<float> values(static_cast<size_t>(tensor.elements()));
      model.read(tensor, values.data());
      (void)model.output_dtype(tensor);
      if (model.exact_layout(tensor)) (void)model.exact_groups(tensor);
    } catch (const mxq::Error&) {  // no numbers, zeros that nobody agrees on
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("mxq-fuzz-" + std::to_string(getpid()));
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t end = all.find('\0');
  if (end == all.npos) return 0;
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << kConfig << all.substr(0, end) << "}";
  std::ofstream(folder / "model.safetensors", std::ios::binary) << all.substr(end + 1);
  try {
    const auto model = mxq::open_model(folder);
    (void)model->config_json();
    read_all(*model);
  } catch (const mxq::Error&) {
  }
  std::filesystem::remove_all(folder);
  return 0;
}
