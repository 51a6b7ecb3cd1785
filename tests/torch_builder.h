// Files as torch.save writes them, and what is wrong with some of them: pickles and zip archives, byte by byte.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mxq {

inline std::string le_bytes(uint64_t value, size_t bytes) {
  std::string out;
  for (size_t i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

/// A pickle of protocol 2.
class PickleBuilder {
 public:
  PickleBuilder& op(std::string_view bytes) {
    out_ += bytes;
    return *this;
  }
  PickleBuilder& text(std::string_view text) { return op("X").op(le_bytes(text.size(), 4)).op(text); }
  PickleBuilder& integer(int64_t value) {
    const auto bits = static_cast<uint64_t>(value);
    if (value == static_cast<int32_t>(value)) return op("J").op(le_bytes(bits, 4));
    return op("\x8a\x08").op(le_bytes(bits, 8));
  }
  PickleBuilder& global(std::string_view module, std::string_view name) {
    return op("c").op(module).op("\n").op(name).op("\n");
  }
  PickleBuilder& tuple(const std::vector<int64_t>& values) {
    op("(");
    for (const int64_t value : values) integer(value);
    return op("t");
  }
  /// The persistent id of a storage.
  PickleBuilder& storage(std::string_view type, std::string_view key, int64_t elements) {
    return op("(").text("storage").global("torch", type).text(key).text("cpu").integer(elements).op("tQ");
  }
  struct Tensor {
    std::string type, key;
    int64_t elements = 0, offset = 0;
    std::vector<int64_t> shape, strides;
  };
  PickleBuilder& tensor(const Tensor& tensor) {
    global("torch._utils", "_rebuild_tensor_v2").op("(").storage(tensor.type, tensor.key, tensor.elements);
    integer(tensor.offset).tuple(tensor.shape).tuple(tensor.strides);
    return op("\x89").global("collections", "OrderedDict").op(")RtR");
  }
  /// Of what has been put on the stack.
  std::string done() const { return "\x80\x02" + out_ + "."; }

 private:
  std::string out_;
};

/// A zip archive of stored entries, of which some may lie.
class ZipBuilder {
 public:
  struct Entry {
    std::string name, bytes;
    uint16_t method = 0, flags = 0;
    bool large = false;  // its sizes stand in zip64's field
  };

  ZipBuilder& add(Entry entry) {
    offsets_.push_back(out_.size());
    out_ += "PK\3\4" + le_bytes(20, 2) + le_bytes(entry.flags, 2) + le_bytes(entry.method, 2) + std::string(8, '\0');
    out_ += le_bytes(entry.bytes.size(), 4) + le_bytes(entry.bytes.size(), 4);
    out_ += le_bytes(entry.name.size(), 2) + le_bytes(0, 2) + entry.name + entry.bytes;
    entries_.push_back(std::move(entry));
    return *this;
  }
  ZipBuilder& add(std::string name, std::string bytes) { return add(Entry{std::move(name), std::move(bytes)}); }

  std::string done(bool zip64 = false) const {
    std::string directory;
    for (size_t i = 0; i < entries_.size(); ++i) {
      const Entry& entry = entries_[i];
      const uint64_t size = entry.bytes.size(), shown = entry.large ? 0xffffffff : size;
      std::string extra;
      if (entry.large) extra = le_bytes(1, 2) + le_bytes(16, 2) + le_bytes(size, 8) + le_bytes(size, 8);
      directory += "PK\1\2" + le_bytes(20, 2) + le_bytes(20, 2) + le_bytes(entry.flags, 2) + le_bytes(entry.method, 2);
      directory += std::string(8, '\0') + le_bytes(shown, 4) + le_bytes(shown, 4) + le_bytes(entry.name.size(), 2);
      directory += le_bytes(extra.size(), 2) + std::string(10, '\0') + le_bytes(offsets_[i], 4) + entry.name + extra;
    }
    const uint64_t count = entries_.size();
    std::string end;
    if (zip64) {
      end += "PK\6\6" + le_bytes(44, 8) + le_bytes(45, 2) + le_bytes(45, 2) + le_bytes(0, 8) + le_bytes(count, 8);
      end += le_bytes(count, 8) + le_bytes(directory.size(), 8) + le_bytes(out_.size(), 8);
      end += "PK\6\7" + le_bytes(0, 4) + le_bytes(out_.size() + directory.size(), 8) + le_bytes(1, 4);
    }
    end += "PK\5\6" + le_bytes(0, 4) + le_bytes(zip64 ? 0xffff : count, 2) + le_bytes(zip64 ? 0xffff : count, 2);
    end += le_bytes(zip64 ? 0xffffffff : directory.size(), 4) + le_bytes(zip64 ? 0xffffffff : out_.size(), 4);
    return out_ + directory + end + le_bytes(0, 2);
  }

 private:
  std::string out_;
  std::vector<Entry> entries_;
  std::vector<size_t> offsets_;
};

/// A whole file of a pickle and its storages.
inline std::string torch_file(const std::string& pickle,
                              const std::vector<std::pair<std::string, std::string>>& storages) {
  ZipBuilder zip;
  zip.add("archive/data.pkl", pickle).add("archive/byteorder", "little");
  for (const auto& [key, bytes] : storages) zip.add("archive/data/" + key, bytes);
  return zip.add("archive/version", "3\n").done();
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace mxq
