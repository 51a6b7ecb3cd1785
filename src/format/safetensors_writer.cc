#include "format/safetensors_writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "base/mapped_file.h"
#include "format/strict_json.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "write safetensors";
constexpr size_t kMaxHeaderBytes = 100'000'000;

/// `text` as a JSON string, quotes and all.
std::string json_string(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::type_error&) {
    throw Error(ErrorCode::unsupported, kOperation, fmt::format("{} is not UTF-8", in_quotes(text)));
  }
}

int64_t total_bytes(const std::vector<TensorSpec>& tensors) {
  int64_t total = 0;
  for (const TensorSpec& tensor : tensors) {
    if (__builtin_add_overflow(total, tensor.bytes(), &total)) {
      throw Error(ErrorCode::usage, kOperation, "the tensors' sizes overflow", "at most 2^63 - 1 bytes");
    }
  }
  return total;
}

}  // namespace

int64_t TensorSpec::bytes() const {
  int64_t count = 1;
  for (int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) {
      throw Error(ErrorCode::usage, kOperation, fmt::format("tensor {} has shape {}", in_quotes(name), shape),
                  "extents from 0 on whose product fits 63 bits");
    }
  }
  return stored ? *stored : dtype_bytes(dtype, count);
}

std::string safetensors_header(const std::vector<TensorSpec>& tensors, const SafetensorsMetadata& metadata) {
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) json += json_string(key) + ":" + json_string(value) + ",";
    json.back() = '}';
    json += ",";
  }
  int64_t offset = 0;
  std::unordered_set<std::string_view> names;
  total_bytes(tensors);  // no overflow below
  for (const TensorSpec& tensor : tensors) {
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      throw Error(ErrorCode::usage, kOperation, fmt::format("tensor name {}", in_quotes(tensor.name)),
                  "names that are given once and are not __metadata__");
    }
    if (dtype_block_elements(tensor.dtype) != 1) {
      throw Error(ErrorCode::unsupported, kOperation,
                  fmt::format("tensor {} has dtype {}", in_quotes(tensor.name), dtype_name(tensor.dtype)),
                  "a dtype that safetensors has");
    }
    const int64_t end = offset + tensor.bytes();
    json += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}},)", json_string(tensor.name),
                        dtype_name(tensor.dtype), fmt::join(tensor.shape, ","), offset, end);
    offset = end;
  }
  if (json.back() == ',') json.pop_back();
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  if (json.size() > kMaxHeaderBytes) {
    throw Error(ErrorCode::unsupported, kOperation, fmt::format("a header of {} bytes", json.size()),
                fmt::format("at most {}", kMaxHeaderBytes));
  }
  std::string header;
  for (size_t i = 0; i < 8; ++i) header += static_cast<char>(static_cast<uint64_t>(json.size()) >> (8 * i));
  return header + json;
}

int64_t safetensors_file_bytes(const std::vector<TensorSpec>& tensors, const SafetensorsMetadata& metadata) {
  return static_cast<int64_t>(safetensors_header(tensors, metadata).size()) + total_bytes(tensors);
}

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path, std::vector<TensorSpec> tensors,
                                     const SafetensorsMetadata& metadata)
    : path_(std::move(path)), tensors_(std::move(tensors)), file_(path_), total_(total_bytes(tensors_)) {
  file_.write(safetensors_header(tensors_, metadata));
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  if (bytes.size() > static_cast<uint64_t>(total_ - written_)) {
    throw Error(ErrorCode::usage, "write " + path_.string(),
                fmt::format("{} bytes more than the tensors' {}",
                            bytes.size() - static_cast<uint64_t>(total_ - written_), total_));
  }
  file_.write(bytes);
  written_ += static_cast<int64_t>(bytes.size());
}

void SafetensorsWriter::commit() {
  if (written_ != total_) {
    int64_t end = 0;
    for (const TensorSpec& tensor : tensors_) {
      end += tensor.bytes();
      if (end > written_) {
        throw Error(
            ErrorCode::usage, "write " + path_.string(),
            fmt::format("tensor {} lacks {} bytes", in_quotes(tensor.name), std::min(end - written_, tensor.bytes())));
      }
    }
  }
  file_.commit();
}

bool is_finished_shard(const std::filesystem::path& path, const std::vector<TensorSpec>& tensors,
                       const SafetensorsMetadata& metadata) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  const std::string header = safetensors_header(tensors, metadata);
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return bytes.size() == header.size() + static_cast<uint64_t>(total_bytes(tensors)) &&
         std::ranges::equal(bytes.first(header.size()), std::as_bytes(std::span(header)));
}

ShardLayout plan_shards(const std::vector<TensorSpec>& tensors, int64_t max_bytes,
                        const std::function<std::string(const TensorSpec&)>& group) {
  if (max_bytes < 1) {
    throw Error(ErrorCode::usage, kOperation, fmt::format("shards of {} bytes", max_bytes), "1 or more");
  }
  ShardLayout layout;
  layout.bytes = total_bytes(tensors);
  layout.shards.emplace_back();
  for (size_t begin = 0, end = 0; begin < tensors.size(); begin = end) {
    const std::string key = group ? group(tensors[begin]) : std::string();
    int64_t bytes = tensors[begin].bytes();
    for (end = begin + 1; !key.empty() && end < tensors.size() && group(tensors[end]) == key; ++end) {
      bytes += tensors[end].bytes();
    }
    if (!layout.shards.back().tensors.empty() && bytes > max_bytes - layout.shards.back().bytes) {
      layout.shards.emplace_back();
    }
    Shard& shard = layout.shards.back();
    shard.tensors.insert(shard.tensors.end(), tensors.begin() + static_cast<ptrdiff_t>(begin),
                         tensors.begin() + static_cast<ptrdiff_t>(end));
    shard.bytes += bytes;
  }
  const size_t count = layout.shards.size();
  for (size_t i = 0; i < count; ++i) {
    layout.shards[i].file =
        count == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, count);
  }
  return layout;
}

std::string shard_index_json(const ShardLayout& layout) {
  std::map<std::string, std::string> weight_map;
  for (const Shard& shard : layout.shards) {
    for (const TensorSpec& tensor : shard.tensors) weight_map.emplace(json_string(tensor.name), shard.file);
  }
  std::string json =
      fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{", layout.bytes);
  const char* separator = "\n";
  for (const auto& [name, file] : weight_map) {
    json += fmt::format("{}    {}: \"{}\"", separator, name, file);
    separator = ",\n";
  }
  return json + "\n  }\n}\n";
}

}  // namespace mxq
