// gguf_floats MODEL.gguf: writes every tensor of weights to stdout, as floats: u32 length of the name, the name, i64
// number of floats, the floats. For gguf_blocks_peer.py. Exit 0, or 1 with the Error's line on stderr.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "format/gguf_parts.h"
#include "format/weights.h"
#include "mxq/error.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const mxq::MappedGguf opened = mxq::open_gguf(mxq::MappedFile(argv[1]));
    constexpr int64_t kChunk = 1 << 20;  // a multiple of every block
    std::vector<float> floats(kChunk);
    for (const auto& tensor : opened.model.tensors) {
      if (!mxq::dtype_is_weight(tensor.dtype)) continue;
      const auto length = static_cast<uint32_t>(tensor.name.size());
      const int64_t elements = tensor.elements();
      std::fwrite(&length, sizeof(length), 1, stdout);
      std::fwrite(tensor.name.data(), 1, length, stdout);
      std::fwrite(&elements, sizeof(elements), 1, stdout);
      for (int64_t first = 0; first < elements; first += kChunk) {
        const int64_t count = std::min(kChunk, elements - first);
        mxq::read_f32(tensor, first, count, floats.data());
        std::fwrite(floats.data(), sizeof(float), static_cast<size_t>(count), stdout);
      }
    }
    return std::fflush(stdout) == 0 ? 0 : 1;
  } catch (const mxq::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
