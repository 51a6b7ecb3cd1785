#include "model/model_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <span>
#include <system_error>

#include "base/mapped_file.h"
#include "format/strict_json.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kModels =
    "a folder with config.json and safetensors or pytorch_model.bin, a .safetensors, .gguf or .pth file";
constexpr const char* kConvert = "safetensors (load the model in transformers and save it with save_pretrained)";
constexpr const char* kAdapter = "adapter_config.json";

/// One kind of thing that is no model for mxq.
struct Kind {
  std::string_view mark;  // the first bytes, or how the name ends
  const char* what;
  const char* instead;
};

constexpr const char* kPickle = "a pickle, which is a program that runs when it is read";
constexpr const char* kTorch = "what torch.save of PyTorch 1.6 or newer writes, or safetensors";
constexpr const char* kNoTorch = "a file that does not begin as those of torch.save do";

constexpr Kind kByBytes[] = {
    {LfsPointer::kStart, LfsPointer::kWhat, LfsPointer::kInstead},
    {"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
     "PyTorch weights in the format from before PyTorch 1.6",
     "the same saved again by torch.save of PyTorch 1.6 or newer, or safetensors"},
    {"\x80\x02", kPickle, kTorch},
    {"\x80\x03", kPickle, kTorch},
    {"\x80\x04", kPickle, kTorch},
    {"\x80\x05", kPickle, kTorch},
    {"\x89HDF", "an HDF5 file, as Keras writes its weights", kConvert},
    {"lmgg", "a GGML file from before GGUF", "a .gguf file of the model"},
    {"fmgg", "a GGML file from before GGUF", "a .gguf file of the model"},
    {"tjgg", "a GGML file from before GGUF", "a .gguf file of the model"},
    {"\x1f\x8b", "a gzip archive", "the model inside, unpacked"},
    {"<!DOCTYPE", "a web page, not the file that the page links to", "the file itself"},
    {"<html", "a web page, not the file that the page links to", "the file itself"},
};

constexpr Kind kUnfinished[] = {
    {".part", "a download that has not ended", "the whole file, under its own name"},
    {".partial", "a download that has not ended", "the whole file, under its own name"},
    {".incomplete", "a download that has not ended", "the whole file, under its own name"},
    {".crdownload", "a download that has not ended", "the whole file, under its own name"},
    {".aria2", "a download that has not ended", "the whole file, under its own name"},
};

/// In this order: the first that a folder has is what the folder is.
constexpr Kind kByName[] = {
    {kAdapter, "an adapter without its base model", "the adapter merged into its base model (merge_and_unload)"},
    {"model_index.json", "a diffusers pipeline", "a transformer for text"},
    {"consolidated.safetensors", "weights in Mistral's own layout", "the model in Hugging Face's layout"},
    {".bin", kNoTorch, kTorch},
    {".pth", kNoTorch, kTorch},
    {".pt", kNoTorch, kTorch},
    {".ckpt", kNoTorch, kTorch},
    {".h5", "Keras weights", kConvert},
    {".msgpack", "Flax weights", kConvert},
    {".onnx", "an ONNX model", "the model that it was exported from, as safetensors, or the folder that mxq wrote"},
    {".npz", "NumPy arrays", kConvert},
    {".index.json", "an index of weights without the weights", "the weight files beside it"},
};

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

std::string name_of(const fs::path& path) {
  return path.filename().string();
}

bool ends(const fs::path& path, std::string_view ending) {
  return lower(name_of(path)).ends_with(ending);
}

std::string first_bytes(const fs::path& path) {
  std::error_code ignored;
  std::string bytes(64, '\0');
  if (!fs::is_regular_file(path, ignored)) return {};
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(file.gcount()));
  return bytes;
}

/// The header's length in 8 bytes, little-endian, then the header: JSON.
bool is_safetensors(std::string_view bytes) {
  return bytes.size() > 9 && bytes.substr(4, 5) == std::string_view("\0\0\0\0{", 5);
}

const Kind* find_by_name(const fs::path& path, std::span<const Kind> kinds) {
  const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& k) { return ends(path, k.mark); });
  return found == kinds.end() ? nullptr : &*found;
}

std::string names(const std::vector<fs::path>& files) {
  constexpr size_t kMost = 4;
  std::vector<std::string> shown;
  for (const fs::path& file : files) {
    if (shown.size() < kMost) shown.push_back(in_quotes(name_of(file)));
  }
  return fmt::format("{}{}", fmt::join(shown, ", "), files.size() > kMost ? ", ..." : "");
}

[[noreturn]] void refuse(const fs::path& path, const std::string& given, const std::string& instead) {
  throw Error(ErrorCode::unsupported, "open " + path.string(), given, instead);
}

/// " 'BASE'", where the adapter says so.
std::string base_of_adapter(const fs::path& config) {
  std::string base;
  try {
    const std::string operation = "read " + config.string();
    walk_json(read_file(config), operation, [&](JsonPath path, const JsonEvent& event) {
      if (path.size() == 1 && path[0] == "base_model_name_or_path" && event.kind == JsonEvent::string)
        base = event.text;
    });
  } catch (const Error&) {  // the adapter is refused in any case
  }
  return base.empty() ? "" : " " + in_quotes(base);
}

struct Shard {
  std::string family;  // the name with the shard's number left out
  int64_t number, count;
};

/// Of "model-00001-of-00002.safetensors", numbers of at most six digits; nullopt for other names.
std::optional<Shard> shard_of(const std::string& name) {
  constexpr std::string_view of = "-of-", digits = "0123456789";
  constexpr size_t most = 6;
  const size_t at = name.rfind(of);
  if (at == std::string::npos || at == 0) return {};
  const size_t before = name.find_last_not_of(digits, at - 1);  // the number behind it ends at `at`
  if (before == std::string::npos || name[before] != '-') return {};
  const size_t behind = std::min(name.find_first_not_of(digits, at + of.size()), name.size());
  const std::string number = name.substr(before + 1, at - before - 1);
  const std::string count = name.substr(at + of.size(), behind - at - of.size());
  if (number.empty() || number.size() > most || count.empty() || count.size() > most) return {};
  return Shard{name.substr(0, before) + "-*" + name.substr(at), parse_int(number).value(), parse_int(count).value()};
}

/// Files that are one model's by their names.
struct ShardSet {
  std::string family;
  std::set<int64_t> numbers;
  int64_t count = 0;
};

/// nullopt where not all are shards, or not all of one set.
std::optional<ShardSet> one_set(const std::vector<fs::path>& files) {
  ShardSet set;
  for (const fs::path& file : files) {
    const auto shard = shard_of(name_of(file));
    if (!shard || (!set.family.empty() && shard->family != set.family)) return {};
    set.family = shard->family;
    set.numbers.insert(shard->number);
    set.count = shard->count;
  }
  return set;
}

/// Throws where one of 1 to N is missing.
void check_complete(const fs::path& folder, const ShardSet& set) {
  std::vector<int64_t> missing;
  for (int64_t i = 1; i <= set.count; ++i) {
    if (!set.numbers.contains(i)) missing.push_back(i);
  }
  if (missing.empty()) return;
  const size_t lacking = missing.size();
  if (lacking > 5) missing.resize(5);
  throw Error(ErrorCode::not_found, "open " + folder.string(),
              fmt::format("of the {} shards {}, {} are missing: number {}{}", set.count, in_quotes(set.family), lacking,
                          fmt::join(missing, ", "), lacking > 5 ? ", ..." : ""),
              "all shards");
}

/// Throws where they are more than one model's.
void check_one_model(const fs::path& folder, const std::vector<fs::path>& files, const char* kind, const char* usual) {
  if (const auto shards = one_set(files)) {
    check_complete(folder, *shards);
  } else if (files.size() > 1) {
    refuse(folder, fmt::format("several {} files and none is {}: {}", kind, usual, names(files)),
           fmt::format("{}, or one file or one set of shards alone", usual));
  }
}

/// Files of a folder that torch.save may have written for a model.
std::vector<fs::path> torch_files(const fs::path& folder) {
  constexpr std::string_view endings[] = {".bin", ".pth", ".pt", ".ckpt"};
  constexpr std::string_view others[] = {"adapter", "training_args", "optimizer",     "scheduler",
                                         "scaler",  "rng_state",     "random_states", "consolidated."};
  auto files = files_ending(folder, "");
  std::erase_if(files, [&](const fs::path& file) {
    const std::string name = lower(name_of(file));
    const auto ends_so = [&](std::string_view ending) { return name.ends_with(ending); };
    const auto begins_so = [&](std::string_view begin) { return name.starts_with(begin); };
    return std::none_of(std::begin(endings), std::end(endings), ends_so) ||
           std::any_of(std::begin(others), std::end(others), begins_so);
  });
  return files;
}

}  // namespace

MappedFile map_model_file(const fs::path& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) refuse_file(file);
  return MappedFile(file);
}

std::optional<FileKind> kind_of_file(const MappedFile& mapped) {
  const fs::path& file = mapped.path();
  if (find_by_name(file, kUnfinished)) return {};
  const std::string_view bytes(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
  if (bytes.starts_with("GGUF")) return FileKind::gguf;
  if (is_safetensors(bytes)) return FileKind::safetensors;
  if (bytes.starts_with("PK\x03\x04")) return FileKind::torch;
  for (const Kind& kind : kByBytes) {
    if (bytes.starts_with(kind.mark)) return {};
  }
  if (ends(file, ".gguf")) return FileKind::gguf;
  if (ends(file, ".safetensors")) return FileKind::safetensors;
  return {};
}

std::vector<fs::path> files_ending(const fs::path& folder, std::string_view ending) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (ends(entry->path(), ending)) found.push_back(entry->path());
  }
  if (error) throw Error(ErrorCode::io, "read folder " + folder.string(), error.message());
  std::sort(found.begin(), found.end());
  return found;
}

std::optional<fs::path> only_gguf(const fs::path& folder) {
  auto files = files_ending(folder, ".gguf");
  if (files.size() > 1) {
    std::erase_if(files, [](const fs::path& file) { return lower(name_of(file)).find("mmproj") != std::string::npos; });
  }
  if (files.size() > 1) {
    const auto parts = one_set(files);
    if (!parts) {
      refuse(folder, fmt::format("the folder has {} .gguf files: {}", files.size(), names(files)),
             "one, or the parts of one, or the path of a file");
    }
    check_complete(folder, *parts);
  }
  return files.empty() ? std::nullopt : std::optional(files.front());
}

std::vector<fs::path> unindexed_weights(const fs::path& folder) {
  auto files = files_ending(folder, ".safetensors");
  std::erase_if(files, [](const fs::path& file) {
    const std::string name = lower(name_of(file));
    return name.starts_with("adapter") || name == "consolidated.safetensors";
  });
  if (files.empty()) refuse_folder(folder);
  check_one_model(folder, files, ".safetensors", "model.safetensors");
  return files;
}

std::vector<fs::path> torch_weights(const fs::path& folder) {
  auto files = torch_files(folder);
  if (files.empty()) refuse_folder(folder);
  check_one_model(folder, files, "weight", "pytorch_model.bin");
  return files;
}

bool has_torch_weights(const fs::path& folder) {
  return !torch_files(folder).empty();
}

bool is_one_of_shards(const fs::path& file) {
  const auto shard = shard_of(name_of(file));
  return shard && shard->count > 1;
}

void refuse_file(const fs::path& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) refuse(file, "not a regular file", kModels);
  if (const Kind* kind = find_by_name(file, kUnfinished)) refuse(file, kind->what, kind->instead);
  const std::string bytes = first_bytes(file);
  if (bytes.empty()) refuse(file, "an empty file", kModels);
  for (const Kind& kind : kByBytes) {
    if (bytes.starts_with(kind.mark)) refuse(file, kind.what, kind.instead);
  }
  if (ends(file, ".json")) refuse(file, "a JSON file", "the folder that the file lies in, with its weights");
  if (const Kind* kind = find_by_name(file, kByName)) refuse(file, kind->what, kind->instead);
  refuse(file,
         fmt::format("a file ending in '{}' that starts neither as GGUF nor as safetensors nor as torch.save's",
                     file.extension().string()),
         kModels);
}

void refuse_folder(const fs::path& folder) {
  const std::string operation = "open " + folder.string();
  const auto files = files_ending(folder, "");
  if (files.empty()) throw Error(ErrorCode::not_found, operation, "the folder is empty", kModels);
  for (std::span<const Kind> kinds : {std::span<const Kind>(kUnfinished), std::span<const Kind>(kByName)}) {
    for (const Kind& kind : kinds) {
      for (const fs::path& file : files) {
        if (!ends(file, kind.mark)) continue;
        std::string what = kind.what;
        if (kind.mark == kAdapter) what += base_of_adapter(file);
        refuse(folder, fmt::format("the folder holds {} ({})", what, name_of(file)), kind.instead);
      }
    }
  }
  std::error_code ignored;
  if (fs::is_directory(folder / "snapshots", ignored)) {
    refuse(folder, "an entry of the Hub's cache, which keeps a folder for each revision",
           fmt::format("the folder of one in 'snapshots': {}", names(files_ending(folder / "snapshots", ""))));
  }
  throw Error(ErrorCode::not_found, operation, fmt::format("the folder holds no weights, only {}", names(files)),
              kModels);
}

}  // namespace mxq
