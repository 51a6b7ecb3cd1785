// Small JSON files that only save time: one that is missing, torn or cannot be written is no error.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

namespace mxq {

/// nullopt where there is no such file or it is no JSON. Callers catch nlohmann::json::exception where values in it are
/// not what they expect.
std::optional<nlohmann::json> load_cache_file(const std::filesystem::path& path);

/// Replaces the file atomically, making its folder where needed. Failures are ignored.
void store_cache_file(const std::filesystem::path& path, const nlohmann::json& json);

}  // namespace mxq
