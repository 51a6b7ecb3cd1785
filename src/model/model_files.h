// What a path that is given as a model holds: known by names and first bytes, before any format is parsed.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"

namespace mxq {

enum class FileKind { gguf, safetensors, torch };

/// By the first bytes, so that names do not matter; by the ending (in any case) where the bytes say nothing. nullopt
/// for all other files, and for downloads that have not ended ("model.gguf.part").
std::optional<FileKind> kind_of_file(const MappedFile& file);

/// Throws as refuse_file() for what is no regular file, and as MappedFile.
MappedFile map_model_file(const std::filesystem::path& file);

/// The files in the folder that end so, in any case of letters, sorted. Throws Error(io).
std::vector<std::filesystem::path> files_ending(const std::filesystem::path& folder, std::string_view ending);

/// The one GGUF of a folder, or the first of its parts (1 to N of N); image projectors ("mmproj") beside it do not
/// count. nullopt where there is no GGUF. Throws Error(unsupported), which names the files, where there are several,
/// and Error(not_found) that names the parts that are missing.
std::optional<std::filesystem::path> only_gguf(const std::filesystem::path& folder);

/// The weights of a folder with neither model.safetensors nor its index: a complete set of shards (1 to N of N), or the
/// one .safetensors file of another name. Throws Error(not_found) that names the shards that are missing, and
/// Error(unsupported) for several files, for adapters and for whatever else is there instead.
std::vector<std::filesystem::path> unindexed_weights(const std::filesystem::path& folder);

/// The weights of a folder with neither pytorch_model.bin nor its index, likewise: of files that end as those of
/// torch.save do, but for what training leaves (optimizer.pt), adapters and Meta's. Whether there is any of them.
std::vector<std::filesystem::path> torch_weights(const std::filesystem::path& folder);
bool has_torch_weights(const std::filesystem::path& folder);

/// By the name ("pytorch_model-00001-of-00002.bin").
bool is_one_of_shards(const std::filesystem::path& file);

/// Error(unsupported): what is there, and what to do. The first is for files, the second for folders.
[[noreturn]] void refuse_file(const std::filesystem::path& file);
[[noreturn]] void refuse_folder(const std::filesystem::path& folder);

}  // namespace mxq
