#include "format/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "base/foreign_dtype.h"
#include "base/mapped_file.h"
#include "format/strict_json.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::string_view kIndexName = "model.safetensors.index.json", kSingleName = "model.safetensors";

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

DType parse_dtype(std::string_view name, const std::string& operation, const std::string& tensor) {
  try {
    return safetensors_dtype(name);
  } catch (const Error& e) {
    throw Error(e.code(), operation, fmt::format("tensor {} has dtype {}", in_quotes(tensor), in_quotes(name)),
                e.supported());
  }
}

/// Builds the header from the JSON's events; checks types and presence of the parts, not what they add up to.
class HeaderBuilder {
 public:
  struct Tensor {
    TensorView view;
    uint64_t begin = 0, end = 0;
  };

  explicit HeaderBuilder(const std::string& operation) : operation_(operation) {}

  void handle(JsonPath path, const JsonEvent& event) {
    if (path.empty()) {
      if (event.kind != JsonEvent::object_begin && event.kind != JsonEvent::object_end) fail("the header is no object");
    } else if (path[0] == kMetadataKey) {
      handle_metadata(path, event);
    } else if (path.size() == 1) {
      handle_tensor(path[0], event);
    } else if (path[1] == "dtype") {
      if (event.kind != JsonEvent::string) fail(path[0], "dtype is not a string");
      dtype_ = parse_dtype(event.text, operation_, path[0]);
    } else if (path[1] == "shape") {
      handle_list(path, event, shape_, "shape");
    } else if (path[1] == "data_offsets") {
      handle_list(path, event, offsets_, "data_offsets");
    }  // Other keys of a tensor are passed over, as the official reader does.
  }

  std::vector<Tensor> tensors;
  std::map<std::string, std::string> metadata;

 private:
  using List = std::optional<std::vector<int64_t>>;

  void handle_metadata(JsonPath path, const JsonEvent& event) {
    if (path.size() == 1) {
      const bool legal =
          event.kind == JsonEvent::object_begin || event.kind == JsonEvent::object_end || event.kind == JsonEvent::null;
      if (!legal) fail("__metadata__ is no object");
    } else if (event.kind == JsonEvent::string) {
      metadata.emplace(path[1], event.text);
    } else {
      fail(fmt::format("__metadata__ {} is not a string", in_quotes(path[1])));
    }
  }

  void handle_tensor(const std::string& name, const JsonEvent& event) {
    if (event.kind == JsonEvent::object_begin) {
      dtype_.reset();
      shape_.reset();
      offsets_.reset();
    } else if (event.kind == JsonEvent::object_end) {
      if (!dtype_) fail(name, "has no dtype");
      if (!shape_) fail(name, "has no shape");
      if (!offsets_) fail(name, "has no data_offsets");
      if (offsets_->size() != 2) fail(name, fmt::format("has {} data_offsets, not 2", offsets_->size()));
      tensors.push_back({{name, *dtype_, std::move(*shape_), {}},
                         static_cast<uint64_t>((*offsets_)[0]),
                         static_cast<uint64_t>((*offsets_)[1])});
    } else {
      fail(name, "is no object");
    }
  }

  void handle_list(JsonPath path, const JsonEvent& event, List& list, std::string_view key) {
    if (path.size() == 2) {
      if (event.kind == JsonEvent::array_begin) {
        list.emplace();
      } else if (event.kind != JsonEvent::array_end) {
        fail(path[0], fmt::format("{} is no array", key));
      }
    } else if (event.kind != JsonEvent::natural || event.natural_value > std::numeric_limits<int64_t>::max()) {
      fail(path[0], fmt::format("{} holds something else than integers from 0 to 2^63 - 1", key));
    } else {
      list->push_back(static_cast<int64_t>(event.natural_value));
    }
  }

  [[noreturn]] void fail(const std::string& what) const { throw Error(ErrorCode::invalid_file, operation_, what); }
  [[noreturn]] void fail(const std::string& tensor, std::string_view what) const {
    fail(fmt::format("tensor {}: {}", in_quotes(tensor), what));
  }

  const std::string& operation_;
  std::optional<DType> dtype_;  // of the tensor being read, as the next two
  List shape_, offsets_;
};

/// Bytes of dtype and shape; absent where the size of the dtype is not known.
std::optional<int64_t> checked_bytes(const TensorView& tensor, const std::string& operation) {
  int64_t count = 1, bytes = 0;
  const int64_t bits = is_foreign(tensor.dtype) ? foreign_bits(tensor.dtype) : 8 * dtype_block_bytes(tensor.dtype);
  for (int64_t extent : tensor.shape) {
    if (__builtin_mul_overflow(count, extent, &count)) count = -1;
    if (count < 0) break;
  }
  if (count < 0 || __builtin_mul_overflow(count, bits % 8 == 0 ? bits / 8 : bits, &bytes)) {
    throw Error(ErrorCode::invalid_file, operation,
                fmt::format("tensor {}: the size of its shape overflows", in_quotes(tensor.name)),
                "at most 2^63 - 1 bytes");
  }
  if (bits == 0) return std::nullopt;
  if (bits % 8 == 0) return bytes;
  if (bytes % 8 != 0) {
    throw Error(
        ErrorCode::invalid_file, operation,
        fmt::format("tensor {} of dtype {} ends within a byte", in_quotes(tensor.name), dtype_name(tensor.dtype)));
  }
  return bytes / 8;
}

/// Checks the tensors' places in the data and sets their views.
std::vector<TensorView> place(std::vector<HeaderBuilder::Tensor> tensors, std::span<const std::byte> data,
                              const std::string& operation) {
  const auto fail = [&](const HeaderBuilder::Tensor& t, const std::string& what) {
    throw Error(ErrorCode::invalid_file, operation,
                fmt::format("tensor {} at data_offsets [{}, {}] {}", in_quotes(t.view.name), t.begin, t.end, what));
  };
  for (const auto& t : tensors) {
    if (t.begin > t.end) fail(t, "ends before it begins");
    if (t.end > data.size()) fail(t, fmt::format("ends beyond the {} bytes of data", data.size()));
    const auto bytes = checked_bytes(t.view, operation);
    if (bytes && t.end - t.begin != static_cast<uint64_t>(*bytes)) {
      fail(t, fmt::format("should have the {} bytes of its dtype and shape ({})", *bytes, dtype_name(t.view.dtype)));
    }
  }
  // An empty tensor comes before the one that begins where it stands.
  std::stable_sort(tensors.begin(), tensors.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::vector<TensorView> views;
  views.reserve(tensors.size());
  uint64_t covered = 0;
  for (auto& t : tensors) {
    if (t.begin < covered) fail(t, "overlaps the one before it");
    if (t.begin > covered) fail(t, fmt::format("leaves a hole after byte {}", covered));
    covered = t.end;
    t.view.bytes = data.subspan(t.begin, t.end - t.begin);
    views.push_back(std::move(t.view));
  }
  if (covered != data.size()) {
    throw Error(ErrorCode::invalid_file, operation,
                fmt::format("{} bytes after the last tensor's", data.size() - covered), "no bytes outside tensors");
  }
  return views;
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& source) {
  const std::string operation = "read " + source;
  const auto fail = [&](const std::string& given, const std::string& allowed = {}) {
    throw Error(ErrorCode::invalid_file, operation, given, allowed);
  };
  if (file.size() < 8) fail(fmt::format("{} bytes are too few for a safetensors file", file.size()));
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i) length |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  if (length > kMaxHeaderBytes) {
    fail(fmt::format("header length {}", length), fmt::format("at most {} in a safetensors file", kMaxHeaderBytes));
  }
  if (length > file.size() - 8) {
    fail(fmt::format("the header of {} bytes ends beyond the file's {} bytes", length, file.size()));
  }
  const std::string_view json = as_text(file.subspan(8, length));
  if (!json.starts_with('{')) fail("the header does not begin with '{'");

  HeaderBuilder builder(operation);
  walk_json(json, operation, [&](JsonPath path, const JsonEvent& event) { builder.handle(path, event); });
  return {place(std::move(builder.tensors), file.subspan(8 + length), operation), std::move(builder.metadata)};
}

StoredTensors read_safetensors(const MappedFile& file) {
  return {parse_safetensors(file.bytes(), file.path().string()).tensors};
}

StoredModel open_safetensors_model(const std::filesystem::path& path) {
  std::filesystem::path single = path;
  std::error_code error;
  StoredModel model;
  if (std::filesystem::is_directory(path, error)) {
    single = path / kSingleName;
    const bool index = !is_missing(path / kIndexName);
    if (is_missing(single)) {
      if (index) return open_shards(path / kIndexName, read_safetensors);
      throw Error(ErrorCode::not_found, "read " + path.string(), "no safetensors model in this folder",
                  fmt::format("{} or {}", kIndexName, kSingleName));
    }
    if (index) {
      model.notes.push_back(fmt::format("{} lies beside {}: the index and its shards are not read, as in transformers",
                                        kSingleName, kIndexName));
    }
  }
  auto file = std::make_shared<const MappedFile>(single);
  auto tensors = read_safetensors(*file);
  model.add(std::move(file), std::move(tensors));
  return model;
}

TensorStore open_safetensors(const std::filesystem::path& path) {
  StoredModel model = open_safetensors_model(path);
  if (!model.absent.empty()) model.refuse_absent(model.absent.begin()->first);
  return std::move(model.store);
}

}  // namespace mxq
