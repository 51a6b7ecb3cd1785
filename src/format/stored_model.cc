#include "format/stored_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <span>
#include <utility>

#include "base/mapped_file.h"
#include "format/strict_json.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxIndexBytes = 100'000'000;

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A file in the index's folder or below it: an index may not reach for other files of the machine.
bool stays_in_folder(std::string_view name) {
  if (name.empty() || name.find_first_of(std::string_view("\\\0", 2)) != name.npos) return false;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

bool same_tensor(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape == b.shape && std::ranges::equal(a.bytes, b.bytes);
}

/// "3 tensors, e.g. 'a'"
std::string count_of(const std::vector<std::string>& names) {
  return names.size() == 1 ? "tensor " + in_quotes(names.front())
                           : fmt::format("{} tensors, e.g. {}", names.size(), in_quotes(names.front()));
}

}  // namespace

bool is_missing(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::status(path, error).type() == std::filesystem::file_type::not_found;
}

std::map<std::string, std::string> parse_shard_index(std::string_view json, const std::string& source) {
  const std::string operation = "read " + source;
  const auto fail = [&](const std::string& given, const std::string& allowed = {}) {
    throw Error(ErrorCode::invalid_file, operation, given, allowed);
  };
  if (json.size() > kMaxIndexBytes) {
    fail(fmt::format("an index of {} bytes", json.size()), fmt::format("at most {}", kMaxIndexBytes));
  }
  std::map<std::string, std::string> weight_map;
  bool present = false;
  walk_json(json, operation, [&](JsonPath path, const JsonEvent& event) {
    const bool object = event.kind == JsonEvent::object_begin || event.kind == JsonEvent::object_end;
    if (path.empty()) {
      if (!object) fail("the index is no object");
    } else if (path[0] != "weight_map") {
      // "metadata" and whatever else: of no use here.
    } else if (path.size() == 1) {
      if (!object) fail("weight_map is no object");
      present = true;
    } else {
      if (event.kind != JsonEvent::string) fail(fmt::format("weight_map: {} is not a string", in_quotes(path[1])));
      if (!stays_in_folder(event.text)) {
        fail(fmt::format("weight_map: {} is in {}", in_quotes(path[1]), in_quotes(event.text)),
             "a file in the index's folder or below it");
      }
      weight_map.emplace(path[1], event.text);
    }
  });
  if (!present) fail("no weight_map");
  if (weight_map.empty()) fail("weight_map names no tensors");
  return weight_map;
}

void StoredModel::add(std::shared_ptr<const MappedFile> file, StoredTensors tensors) {
  store.add(std::move(file), std::move(tensors.tensors));
  strides.merge(tensors.strides);
  notes.insert(notes.end(), std::make_move_iterator(tensors.notes.begin()),
               std::make_move_iterator(tensors.notes.end()));
}

void StoredModel::refuse_absent(const std::string& name) const {
  const auto& [shard, missing] = absent.at(name);
  const std::string operation = "read " + index.string();
  if (missing) {
    throw Error(ErrorCode::not_found, operation,
                fmt::format("shard {} is not there, and tensor {} is in it", in_quotes(shard), in_quotes(name)));
  }
  throw Error(ErrorCode::invalid_file, operation,
              fmt::format("shard {} lacks tensor {}, which the index puts there", in_quotes(shard), in_quotes(name)));
}

// The index need not be right about which tensor lies where.
StoredModel open_shards(const fs::path& index_path, const ParseTensors& parse) {
  const MappedFile index(index_path);
  const fs::path folder = index_path.parent_path();
  const std::string index_name = index_path.filename().string();
  const auto weight_map = parse_shard_index(as_text(index.bytes()), index.path().string());
  StoredModel model;
  model.index = index_path;
  const std::string operation = "read " + index.path().string();
  std::set<std::string> shards, missing_shards;
  for (const auto& [name, shard] : weight_map) shards.insert(shard);
  std::vector<std::string> unnamed, elsewhere, twice;
  for (const auto& shard : shards) {
    if (is_missing(folder / shard)) {
      missing_shards.insert(shard);
      continue;
    }
    auto file = std::make_shared<const MappedFile>(folder / shard);
    StoredTensors parsed = parse(*file);
    std::vector<TensorView> tensors;
    for (TensorView& tensor : parsed.tensors) {
      if (const TensorView* other = model.store.find(tensor.name)) {
        const auto before = model.strides.find(tensor.name), strides = parsed.strides.find(tensor.name);
        const bool alike = before == model.strides.end() ? strides == parsed.strides.end()
                                                         : strides != parsed.strides.end() && *before == *strides;
        if (!alike || !same_tensor(*other, tensor)) {
          throw Error(ErrorCode::invalid_file, operation,
                      fmt::format("tensor {} has other values in shard {} than in one before it",
                                  in_quotes(tensor.name), in_quotes(shard)),
                      "one value for each tensor");
        }
        twice.push_back(tensor.name);
        continue;
      }
      const auto place = weight_map.find(tensor.name);
      if (place == weight_map.end()) {
        unnamed.push_back(tensor.name);
      } else if (place->second != shard) {
        elsewhere.push_back(tensor.name);
      }
      tensors.push_back(std::move(tensor));
    }
    parsed.tensors = std::move(tensors);
    model.add(std::move(file), std::move(parsed));
  }
  // A copy in the shard that the index names makes up for one elsewhere.
  std::erase_if(elsewhere, [&](const std::string& name) { return std::ranges::find(twice, name) != twice.end(); });
  for (const auto& [name, shard] : weight_map) {
    if (model.store.find(name) == nullptr)
      model.absent.emplace(name, AbsentTensor{shard, missing_shards.contains(shard)});
  }
  if (!unnamed.empty())
    model.notes.push_back(fmt::format("{} lacks {} of the shards: read all the same", index_name, count_of(unnamed)));
  if (!elsewhere.empty()) {
    model.notes.push_back(
        fmt::format("{} puts {} into another shard than the one that holds it", index_name, count_of(elsewhere)));
  }
  if (!twice.empty()) model.notes.push_back(fmt::format("two shards hold {}, with the same values", count_of(twice)));
  return model;
}

}  // namespace mxq
