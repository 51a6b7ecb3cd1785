// Any bytes as a config.json: the model's own fields and the quantization config of a checkpoint.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "format/hf_config.h"
#include "model/config.h"
#include "mxq/error.h"
#include "schemes/stored_matrix.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string json(reinterpret_cast<const char*>(data), size);
  try {
    const auto config = mxq::parse_hf_config(json, "input");
    if (mxq::kv_cache_bytes(config, 4096) < 0) std::abort();
  } catch (const mxq::Error&) {
  }
  try {
    const auto quantization = mxq::get_quantization_config(json, "input");
    if (!quantization) return 0;
    for (const auto& matrix : quantization->matrices) {
      if (mxq::stored_layout(*quantization, matrix).total_bytes() < 0) std::abort();
    }
    // What was read is written and read again as the same.
    const auto again =
        mxq::get_quantization_config(mxq::set_quantization_config(json, quantization, "input"), "output");
    if (!again || again->matrices.size() != quantization->matrices.size()) std::abort();
  } catch (const mxq::Error&) {
  }
  return 0;
}
