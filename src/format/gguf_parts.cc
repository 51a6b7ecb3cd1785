#include "format/gguf_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kMostParts = 99999;
constexpr size_t kTailLength = std::string_view("-00001-of-00003").size();

[[noreturn]] void invalid(const std::string& source, std::string given, std::string expected = {}) {
  throw Error(ErrorCode::invalid_file, "read " + source, std::move(given), std::move(expected));
}

std::string tail(const GgufPart& part) {
  return fmt::format("-{:05}-of-{:05}", part.number, part.count);
}

/// The path of another part of the model whose part `path` is, by its name.
fs::path path_of_part(const fs::path& path, const GgufPart& part) {
  std::string stem = path.stem().string();
  stem.resize(stem.size() - kTailLength);
  return path.parent_path() / (stem + tail(part) + path.extension().string());
}

/// That the name of a part ends as its metadata say.
void check_name(const fs::path& path, const GgufPart& part) {
  const std::string stem = path.stem().string();
  if (stem.size() > kTailLength && stem.ends_with(tail(part))) return;
  invalid(path.string(), fmt::format("by its metadata the file is part {} of {} of a model", part.number, part.count),
          fmt::format("a name that ends in '{}.gguf'", tail(part)));
}

bool same_value(const GgufValue& a, const GgufValue& b) {
  if (a.index() != b.index()) return false;
  const auto* array = std::get_if<GgufArray>(&a);
  if (array == nullptr) {
    return std::visit(
        [&](const auto& value) {
          using T = std::decay_t<decltype(value)>;
          if constexpr (!std::is_same_v<T, GgufArray>) return value == std::get<T>(b);
          return false;
        },
        a);
  }
  const auto& other = std::get<GgufArray>(b);
  return array->element == other.element && array->count == other.count && array->strings == other.strings &&
         std::ranges::equal(array->bytes, other.bytes);
}

/// That what a later part says besides its number is what the first one says. general.alignment is each file's own.
void check_agrees(const GgufFile& first, const GgufFile& part) {
  for (const auto& [key, value] : part.metadata) {
    if (key == "split.no" || key == "general.alignment") continue;
    const GgufValue* const said = first.find(key);
    if (said != nullptr && !same_value(*said, value)) {
      invalid(part.source, fmt::format("metadata {} differ from those of {}", in_quotes(key), first.source),
              "parts of one model");
    }
  }
}

}  // namespace

GgufPart gguf_part(const GgufFile& file) {
  const int64_t count = file.find_u32("split.count").value_or(1);
  if (count <= 1) return {};  // of merged files it is 0
  if (count > kMostParts) {
    invalid(file.source, fmt::format("metadata 'split.count' is {}", count), fmt::format("at most {}", kMostParts));
  }
  const int64_t number = file.get_u32("split.no");
  if (number >= count) {
    invalid(file.source, fmt::format("metadata 'split.no' is {} of {} parts", number, count),
            fmt::format("0 to {}", count - 1));
  }
  return {number + 1, count};
}

void check_first_part(const GgufFile& file, const fs::path& path) {
  const GgufPart part = gguf_part(file);
  if (part.count == 1) return;
  check_name(path, part);
  if (part.number != 1) {
    throw Error(ErrorCode::unsupported, "open " + path.string(),
                fmt::format("part {} of {} of a model in GGUF", part.number, part.count),
                fmt::format("the first part, {}", path_of_part(path, {1, part.count}).string()));
  }
}

GgufFile join_gguf_parts(std::vector<GgufFile> parts) {
  GgufFile model = std::move(parts.at(0));
  const auto [number, count] = gguf_part(model);
  if (number != 1 || count != static_cast<int64_t>(parts.size())) {
    invalid(model.source, fmt::format("part {} of {} is the first of {} parts", number, count, parts.size()));
  }
  if (count == 1) return model;
  std::map<std::string, std::string, std::less<>> owners;  // by the tensor's name
  for (const TensorView& tensor : model.tensors) owners.emplace(tensor.name, model.source);
  for (size_t i = 1; i < parts.size(); ++i) {
    GgufFile& part = parts[i];
    const GgufPart found = gguf_part(part);
    const auto expected = static_cast<int64_t>(i) + 1;
    if (found.number != expected || found.count != count) {
      invalid(part.source, fmt::format("by its metadata the file is part {} of {}", found.number, found.count),
              fmt::format("part {} of {}, as {} has them", expected, count, model.source));
    }
    check_agrees(model, part);
    for (TensorView& tensor : part.tensors) {
      const auto [owner, fresh] = owners.emplace(tensor.name, part.source);
      if (!fresh) {
        invalid(part.source, fmt::format("tensor {} is in {} too", in_quotes(tensor.name), owner->second),
                "each name once over all parts of a model");
      }
      model.tensors.push_back(std::move(tensor));
    }
  }
  const uint32_t total = model.get_u32("split.tensors.count");
  if (model.tensors.size() != total) {
    invalid(model.source, fmt::format("the {} parts have {} tensors", count, model.tensors.size()),
            fmt::format("{} (split.tensors.count)", total));
  }
  return model;
}

MappedGguf open_gguf(MappedFile first) {
  MappedGguf opened;
  std::vector<GgufFile> parts{parse_gguf(first.bytes(), first.path().string())};
  const fs::path path = first.path();
  check_first_part(parts[0], path);
  opened.files.push_back(std::move(first));
  const int64_t count = gguf_part(parts[0]).count;
  for (int64_t number = 2; number <= count; ++number) {
    const GgufPart wanted{number, count};
    const fs::path beside = path_of_part(path, wanted);
    std::error_code ignored;
    if (!fs::is_regular_file(beside, ignored)) {
      throw Error(ErrorCode::not_found, "open " + path.string(),
                  fmt::format("part {} of {} is missing: {}", number, count, beside.string()),
                  "all parts in one folder");
    }
    MappedFile file(beside);
    parts.push_back(parse_gguf(file.bytes(), beside.string()));
    opened.files.push_back(std::move(file));
  }
  opened.model = join_gguf_parts(std::move(parts));
  return opened;
}

}  // namespace mxq
