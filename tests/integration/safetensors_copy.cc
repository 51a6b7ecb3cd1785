// safetensors_copy IN OUT_FOLDER MAX_SHARD_BYTES: reads a file or folder and writes its tensors again, in shards.
// For safetensors_peer.py. Exit 0, or 1 with the Error's line on stderr.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/atomic_file.h"
#include "format/safetensors.h"
#include "format/safetensors_writer.h"
#include "mxq/error.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::filesystem::path folder = argv[2];
  try {
    const mxq::TensorStore store = mxq::open_safetensors(argv[1]);
    const auto metadata = mxq::parse_safetensors(store.files().at(0)->bytes(), argv[1]).metadata;
    std::vector<mxq::TensorSpec> specs;
    for (const auto& tensor : store.tensors()) {
      specs.push_back({tensor.name, tensor.dtype, tensor.shape, static_cast<int64_t>(tensor.bytes.size())});
    }
    const mxq::ShardLayout layout = mxq::plan_shards(specs, std::atoll(argv[3]));
    for (const auto& shard : layout.shards) {
      mxq::SafetensorsWriter writer(folder / shard.file, shard.tensors, metadata);
      for (const auto& tensor : shard.tensors) writer.write(store.find(tensor.name)->bytes);
      writer.commit();
    }
    if (layout.shards.size() > 1) {
      mxq::write_file(folder / "model.safetensors.index.json", mxq::shard_index_json(layout));
    }
  } catch (const mxq::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
