// Any file given as a model in GGUF must be answered with a model, all of whose tensors can be read, or an Error.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "model/model_source.h"
#include "mxq/error.h"

namespace {

// What a row or a tensor has more of than this is read by none of the tests either.
constexpr int64_t kMost = 1 << 20;

void read_all(const mxq::ModelSource& model) {
  for (const mxq::SourceTensor& tensor : model.tensors()) {
    if (tensor.elements() > kMost) continue;
    try {
      std::vector<float> values(static_cast<size_t>(tensor.elements()));
      model.read(tensor, values.data());
      (void)model.output_dtype(tensor);
      if (model.exact_layout(tensor)) (void)model.exact_groups(tensor);
    } catch (const mxq::Error&) {  // NaN, scales beyond fp32
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("mxq-fuzz-" + std::to_string(getpid()) + ".gguf");
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    const auto model = mxq::open_model(path);
    (void)model->config_json();
    read_all(*model);
  } catch (const mxq::Error&) {
  }
  std::filesystem::remove(path);
  return 0;
}
