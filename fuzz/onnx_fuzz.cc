// Any bytes as model.onnx of a folder: an Error, or a model whose bytes, printed, are read as the same one; and, beside
// a small configuration and a file of data, an Error or a model whose matrices lie in that file.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "format/onnx.h"
#include "model/model_source.h"
#include "mxq/error.h"

namespace {

// That of make_onnx_corpus.py.
constexpr const char* kConfig = R"({"model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
  "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 24,
  "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": true,
  "torch_dtype": "float16"})";
constexpr size_t kDataBytes = 1 << 15;

const std::filesystem::path& folder() {
  static const std::filesystem::path path = [] {
    auto made = std::filesystem::temp_directory_path() / ("mxq-onnx-fuzz-" + std::to_string(getpid()));
    std::filesystem::create_directories(made);
    std::ofstream(made / "config.json") << kConfig;
    std::ofstream(made / "model.onnx.data", std::ios::binary) << std::string(kDataBytes, '\0');
    return made;
  }();
  return path;
}

void read_model() {
  const auto model = mxq::open_model(folder());
  for (const auto& tensor : model->tensors()) {
    if (tensor.elements() > static_cast<int64_t>(kDataBytes) * 4) std::abort();  // codes have 2 bits at least
    std::vector<float> values(static_cast<size_t>(tensor.elements()));
    model->read(tensor, values.data());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto model = mxq::parse_onnx(std::as_bytes(std::span(data, size)), "fuzz");
    const std::string printed = mxq::print_onnx(model);
    const auto again = mxq::parse_onnx(std::as_bytes(std::span(printed)), "fuzz");
    // NaN is not equal to itself.
    if (mxq::print_onnx(again) != printed) std::abort();
  } catch (const mxq::Error&) {
    return 0;
  }
  std::ofstream(folder() / "model.onnx", std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    read_model();
  } catch (const mxq::Error&) {
    // The one way to reject; anything else ends the fuzzer.
  }
  return 0;
}
