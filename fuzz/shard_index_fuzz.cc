// Any bytes as a model.safetensors.index.json.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "format/safetensors.h"
#include "mxq/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string_view json(reinterpret_cast<const char*>(data), size);
    const auto weight_map = mxq::parse_shard_index(json, "input");
    if (weight_map.empty()) std::abort();
    for (const auto& [name, file] : weight_map) {
      if (file.empty() || file.front() == '/' || file.find('\\') != file.npos) std::abort();
      if (("/" + file + "/").find("/../") != file.npos) std::abort();
    }
  } catch (const mxq::Error&) {
  }
  return 0;
}
