// Any files given as the parts of a model must be answered with a model or an Error. The input is up to four files,
// each behind its length in a u16; the last one has what is left.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "format/gguf_parts.h"
#include "mxq/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::span<const std::byte> left = std::as_bytes(std::span(data, size));
  try {
    std::vector<mxq::GgufFile> parts;
    size_t tensors = 0;
    while (left.size() >= 2 && parts.size() < 4) {
      uint16_t length = 0;
      std::memcpy(&length, left.data(), 2);
      left = left.subspan(2);
      const size_t taken = parts.size() < 3 && length < left.size() ? length : left.size();
      parts.push_back(mxq::parse_gguf(left.first(taken), "part " + std::to_string(parts.size())));
      tensors += parts.back().tensors.size();
      left = left.subspan(taken);
    }
    if (parts.empty()) return 0;
    const bool alone = parts.size() == 1;
    const mxq::GgufFile model = mxq::join_gguf_parts(std::move(parts));
    std::set<std::string> names;
    for (const auto& tensor : model.tensors) names.insert(tensor.name);
    if (model.tensors.size() != tensors || names.size() != tensors) std::abort();
    if (!alone && model.get_u32("split.tensors.count") != tensors) std::abort();
    mxq::check_first_part(model, "model-00001-of-00002.gguf");
  } catch (const mxq::Error&) {
  }
  return 0;
}
