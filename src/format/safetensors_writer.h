// Writing safetensors files, whole models in shards among them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "mxq/tensor.h"

namespace mxq {

struct TensorSpec {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::optional<int64_t> stored = std::nullopt;  // bytes, of a foreign dtype (base/foreign_dtype.h)

  /// Bytes of the tensor. Throws Error(usage) for a negative extent or a size beyond 63 bits.
  int64_t bytes() const;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

/// What comes before the tensors' bytes: the length and the JSON, padded with spaces to a multiple of 8 bytes; the
/// tensors follow in the order given. The same for the same arguments, so file sizes are known before anything is
/// written. Throws Error(usage) for a name given twice or "__metadata__", Error(unsupported) for text that is
/// not UTF-8, a dtype that safetensors does not have (GGUF's blocks) or a header over 100,000,000 bytes.
std::string safetensors_header(const std::vector<TensorSpec>& tensors, const SafetensorsMetadata& metadata);

/// Bytes of the whole file.
int64_t safetensors_file_bytes(const std::vector<TensorSpec>& tensors, const SafetensorsMetadata& metadata);

/// One file, which appears under its name on commit() only.
class SafetensorsWriter {
 public:
  /// Throws as safetensors_header, and Error(io).
  SafetensorsWriter(std::filesystem::path path, std::vector<TensorSpec> tensors,
                    const SafetensorsMetadata& metadata = {});

  /// The next bytes of the tensors, in their order, cut as the caller likes. Throws Error(usage) for more bytes than
  /// the tensors have, Error(io).
  void write(std::span<const std::byte> bytes);
  /// Throws Error(usage), naming the tensor, if bytes are missing; Error(io).
  void commit();

 private:
  std::filesystem::path path_;
  std::vector<TensorSpec> tensors_;
  AtomicFile file_;
  int64_t total_ = 0, written_ = 0;  // of the tensors' bytes
};

/// True if `path` holds a file of the size and with the header that a SafetensorsWriter of these arguments makes, so
/// one that an earlier, killed run committed. Says nothing about the tensors' bytes: whether those may be kept is
/// for the caller to know.
bool is_finished_shard(const std::filesystem::path& path, const std::vector<TensorSpec>& tensors,
                       const SafetensorsMetadata& metadata = {});

struct Shard {
  std::string file;
  std::vector<TensorSpec> tensors;
  int64_t bytes = 0;  // of the tensors, without the header
};

struct ShardLayout {
  std::vector<Shard> shards;
  int64_t bytes = 0;  // of all tensors
};

/// Hugging Face's limit of a shard.
inline constexpr int64_t kMaxShardBytes = 5'000'000'000;

/// Which tensors go into which file: filled in the order given, none split, a new shard where the next would exceed
/// `max_bytes` (a larger tensor has one of its own). Neighbours for which `group` gives the same non-empty key stay
/// together. Throws Error(usage) for `max_bytes` < 1 and as TensorSpec::bytes. One shard is model.safetensors, more are
/// model-00001-of-00002.safetensors, ...
ShardLayout plan_shards(const std::vector<TensorSpec>& tensors, int64_t max_bytes = kMaxShardBytes,
                        const std::function<std::string(const TensorSpec&)>& group = {});

/// The text of model.safetensors.index.json, which belongs beside more than one shard (and is to be written last).
std::string shard_index_json(const ShardLayout& layout);

}  // namespace mxq
