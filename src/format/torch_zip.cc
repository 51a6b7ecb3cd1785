#include "format/torch_zip.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "format/le_bytes.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr uint32_t kEndMark = 0x06054b50, kEnd64Mark = 0x06064b50, kLocator64Mark = 0x07064b50;
constexpr uint32_t kCentralMark = 0x02014b50, kLocalMark = 0x04034b50;
constexpr size_t kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20, kCentralBytes = 46, kLocalBytes = 30;
constexpr size_t kLongestComment = 0xffff, kLongestName = 512;
constexpr uint32_t kIn64 = 0xffffffff;  // the number stands in a zip64 field
constexpr uint16_t kIn64Short = 0xffff, kZip64Field = 1;
constexpr uint16_t kEncrypted = 1, kSizesBehind = 8;  // flags
constexpr std::string_view kPickle = "data.pkl", kByteOrder = "byteorder", kData = "data/";

struct Entry {
  std::string name;
  uint16_t method = 0, flags = 0;
  uint64_t compressed = 0, size = 0, header = 0;  // of the local header
  uint64_t begin = 0;                             // of the bytes
};

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ZipReader {
 public:
  ZipReader(std::span<const std::byte> file, const std::string& source) : file_(file), operation_("read " + source) {}

  std::vector<Entry> entries() {
    find_directory();
    std::vector<Entry> entries;
    uint64_t at = directory_;
    for (uint64_t i = 0; i < count_; ++i) {
      entries.push_back(central_entry(at));
      place(entries.back());
    }
    if (at != directory_end_) {
      fail(fmt::format("the zip directory of {} entries ends at byte {}", count_, at), std::to_string(directory_end_));
    }
    check_apart(entries);
    return entries;
  }

  [[noreturn]] void fail(const std::string& given, const std::string& allowed = {}) const {
    throw Error(ErrorCode::invalid_file, operation_, given, allowed);
  }
  [[noreturn]] void refuse(const std::string& given, const std::string& allowed) const {
    throw Error(ErrorCode::unsupported, operation_, given, allowed);
  }

  /// Throws for an entry that is not stored as it is.
  std::span<const std::byte> bytes(const Entry& entry) const {
    const std::string name = in_quotes(entry.name);
    if ((entry.flags & kEncrypted) != 0) refuse(fmt::format("entry {} is encrypted", name), "a plain file");
    if (entry.method != 0) {
      refuse(fmt::format("entry {} is compressed (method {})", name, entry.method),
             "stored entries, as torch.save writes them");
    }
    if (entry.compressed != entry.size) {
      fail(fmt::format("entry {}: {} bytes are stored in {}", name, entry.size, entry.compressed));
    }
    return file_.subspan(entry.begin, entry.size);
  }

 private:
  template <typename Int>
  Int number(uint64_t at) const {
    return read_le<Int>(file_.data() + at);
  }

  // The record at the file's end, and the zip64 one that it points to.
  void find_directory() {
    const size_t size = file_.size();
    if (size < kEndBytes) fail(fmt::format("{} bytes are too few for a zip archive", size));
    const size_t first = size - kEndBytes - std::min(kLongestComment, size - kEndBytes);
    size_t end = size - kEndBytes;
    while (number<uint32_t>(end) != kEndMark || number<uint16_t>(end + 20) != size - kEndBytes - end) {
      if (end == first) fail("no zip directory at the file's end", "a whole file (is the download complete?)");
      --end;
    }
    const auto disk = number<uint16_t>(end + 4), start_disk = number<uint16_t>(end + 6);
    const auto here = number<uint16_t>(end + 8), entries = number<uint16_t>(end + 10);
    const auto bytes = number<uint32_t>(end + 12), offset = number<uint32_t>(end + 16);
    count_ = entries;
    uint64_t directory_bytes = bytes;
    directory_ = offset;
    directory_end_ = end;
    const bool large = end >= kLocator64Bytes && number<uint32_t>(end - kLocator64Bytes) == kLocator64Mark;
    if (large) {
      const auto where = number<uint64_t>(end - kLocator64Bytes + 8);
      if (end - kLocator64Bytes < kEnd64Bytes || where != end - kLocator64Bytes - kEnd64Bytes ||
          number<uint32_t>(where) != kEnd64Mark) {
        fail(fmt::format("the zip64 end record should be at byte {} and is not", where));
      }
      if (number<uint32_t>(where + 16) != 0 || number<uint32_t>(where + 20) != 0)
        fail("a zip archive of several disks");
      count_ = number<uint64_t>(where + 32);
      directory_bytes = number<uint64_t>(where + 40);
      directory_ = number<uint64_t>(where + 48);
      directory_end_ = where;
      const bool agree = (entries == kIn64Short || entries == count_) && (bytes == kIn64 || bytes == directory_bytes) &&
                         (offset == kIn64 || offset == directory_) && number<uint64_t>(where + 24) == count_;
      if (!agree) fail("the zip and zip64 end records contradict each other");
    } else if (disk != 0 || start_disk != 0 || here != entries) {
      fail("a zip archive of several disks");
    }
    if (directory_ > directory_end_ || directory_bytes != directory_end_ - directory_) {
      fail(fmt::format("the zip directory has {} bytes from byte {} on", directory_bytes, directory_),
           fmt::format("one that ends at byte {}", directory_end_));
    }
    if (count_ > directory_bytes / kCentralBytes) {
      fail(fmt::format("{} entries in a zip directory of {} bytes", count_, directory_bytes));
    }
  }

  Entry central_entry(uint64_t& at) const {
    if (directory_end_ - at < kCentralBytes || number<uint32_t>(at) != kCentralMark) {
      fail(fmt::format("no entry of the zip directory at byte {}", at));
    }
    Entry entry;
    entry.flags = number<uint16_t>(at + 8);
    entry.method = number<uint16_t>(at + 10);
    const auto compressed = number<uint32_t>(at + 20), size = number<uint32_t>(at + 24),
               header = number<uint32_t>(at + 42);
    const uint64_t name = number<uint16_t>(at + 28), extra = number<uint16_t>(at + 30),
                   comment = number<uint16_t>(at + 32);
    if (name + extra + comment > directory_end_ - at - kCentralBytes) {
      fail(fmt::format("the entry of the zip directory at byte {} ends beyond the directory", at));
    }
    entry.name = as_text(file_.subspan(at + kCentralBytes, name));
    entry.compressed = compressed;
    entry.size = size;
    entry.header = header;
    read_zip64(entry, file_.subspan(at + kCentralBytes + name, extra), compressed == kIn64, size == kIn64,
               header == kIn64);
    at += kCentralBytes + name + extra + comment;
    return entry;
  }

  // Of the fields in `extra` the one of zip64 holds, in this order, the numbers that do not fit 32 bits.
  void read_zip64(Entry& entry, std::span<const std::byte> extra, bool compressed, bool size, bool header) const {
    if (!compressed && !size && !header) return;
    while (extra.size() >= 4) {
      const auto id = read_le<uint16_t>(extra.data());
      const size_t length = read_le<uint16_t>(extra.data() + 2);
      extra = extra.subspan(4);
      if (length > extra.size()) break;
      if (id != kZip64Field) {
        extra = extra.subspan(length);
        continue;
      }
      auto field = extra.first(length);
      for (const auto& [wanted, place] :
           {std::pair(size, &entry.size), {compressed, &entry.compressed}, {header, &entry.header}}) {
        if (!wanted) continue;
        if (field.size() < 8) fail(fmt::format("entry {}: the zip64 field is too short", in_quotes(entry.name)));
        *place = read_le<uint64_t>(field.data());
        field = field.subspan(8);
      }
      return;
    }
    fail(fmt::format("entry {}: sizes of zip64 without their field", in_quotes(entry.name)));
  }

  // Checks what the local header says, and finds the bytes behind it.
  void place(Entry& entry) const {
    const std::string name = in_quotes(entry.name);
    if (entry.name.size() > kLongestName) {
      fail(fmt::format("entry {}: a name of {} bytes", name, entry.name.size()),
           fmt::format("at most {}", kLongestName));
    }
    if (entry.header > directory_ || directory_ - entry.header < kLocalBytes ||
        number<uint32_t>(entry.header) != kLocalMark) {
      fail(fmt::format("entry {}: no header at byte {}", name, entry.header));
    }
    const uint64_t length = number<uint16_t>(entry.header + 26), extra = number<uint16_t>(entry.header + 28);
    const uint64_t room = directory_ - entry.header - kLocalBytes;
    if (length + extra > room || as_text(file_.subspan(entry.header + kLocalBytes, length)) != entry.name ||
        number<uint16_t>(entry.header + 8) != entry.method) {
      fail(fmt::format("entry {}: the header at byte {} contradicts the directory", name, entry.header));
    }
    if (entry.compressed > room - length - extra) {
      fail(fmt::format("entry {}: {} bytes from byte {} on", name, entry.compressed,
                       entry.header + kLocalBytes + length + extra),
           fmt::format("an end before byte {}, where the zip directory begins", directory_));
    }
    const auto local = number<uint32_t>(entry.header + 18);
    const bool told_behind = (number<uint16_t>(entry.header + 6) & kSizesBehind) != 0;
    if (!told_behind && local != kIn64 && local != entry.compressed) {
      fail(fmt::format("entry {}: {} bytes by its header", name, local),
           fmt::format("the directory's {}", entry.compressed));
    }
    entry.begin = entry.header + kLocalBytes + length + extra;
  }

  void check_apart(const std::vector<Entry>& entries) const {
    std::vector<const Entry*> sorted;
    for (const Entry& entry : entries) sorted.push_back(&entry);
    std::sort(sorted.begin(), sorted.end(), [](const Entry* a, const Entry* b) { return a->header < b->header; });
    for (size_t i = 1; i < sorted.size(); ++i) {
      const Entry &before = *sorted[i - 1], &entry = *sorted[i];
      if (before.begin + before.compressed > entry.header) {
        fail(fmt::format("entries {} and {} overlap", in_quotes(before.name), in_quotes(entry.name)));
      }
    }
    std::sort(sorted.begin(), sorted.end(), [](const Entry* a, const Entry* b) { return a->name < b->name; });
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end(),
                                          [](const Entry* a, const Entry* b) { return a->name == b->name; });
    if (twice != sorted.end())
      fail(fmt::format("entry {} is there twice", in_quotes((*twice)->name)), "each name once");
  }

  std::span<const std::byte> file_;
  std::string operation_;
  uint64_t count_ = 0, directory_ = 0, directory_end_ = 0;
};

bool is_key(std::string_view key) {
  return !key.empty() && key.size() <= 20 &&
         std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

TorchZip parse_torch_zip(std::span<const std::byte> file, const std::string& source) {
  ZipReader reader(file, source);
  const auto entries = reader.entries();
  // "NAME/data.pkl" says what NAME is.
  const auto folder_of = [](const Entry& entry, std::string_view file_name) -> std::optional<std::string> {
    const size_t slash = entry.name.find('/');
    if (slash == std::string::npos || slash == 0 || entry.name.substr(slash + 1) != file_name) return std::nullopt;
    return entry.name.substr(0, slash + 1);
  };
  std::optional<std::string> folder;
  for (const Entry& entry : entries) {
    const auto found = folder_of(entry, kPickle);
    if (found && folder) reader.fail(fmt::format("both '{}' and '{}' hold data.pkl", *folder, *found), "one");
    if (found) folder = found;
  }
  if (!folder) {
    reader.refuse("a zip archive without NAME/data.pkl",
                  "what torch.save of PyTorch 1.6 or newer writes, safetensors or a .gguf file");
  }
  for (const Entry& entry : entries) {
    if (!entry.name.starts_with(*folder)) {
      reader.fail(fmt::format("entry {} lies outside '{}'", in_quotes(entry.name), *folder));
    }
    const std::string_view name = std::string_view(entry.name).substr(folder->size());
    if (name == "constants.pkl" || name.starts_with("code/")) {
      reader.refuse(fmt::format("a TorchScript archive (it holds {}), which is a program", in_quotes(entry.name)),
                    "weights alone (torch.save(model.state_dict(), FILE))");
    }
  }
  TorchZip zip;
  for (const Entry& entry : entries) {
    const std::string_view name = std::string_view(entry.name).substr(folder->size());
    const auto bytes = reader.bytes(entry);
    if (name == kPickle) zip.pickle = bytes;
    if (name == kByteOrder && as_text(bytes) != "little") {
      reader.refuse(fmt::format("{} is {}", in_quotes(entry.name), in_quotes(as_text(bytes))),
                    "'little': a file saved on a little-endian machine");
    }
    if (name.starts_with(kData)) {
      const std::string_view key = name.substr(kData.size());
      if (!is_key(key)) reader.fail(fmt::format("storage {}", in_quotes(entry.name)), "a number for a name");
      zip.storages.emplace(key, bytes);
    }
  }
  return zip;
}

}  // namespace mxq
