#include "format/cache_file.h"

#include "base/atomic_file.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {

std::optional<nlohmann::json> load_cache_file(const std::filesystem::path& path) {
  try {
    auto json = nlohmann::json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
    if (!json.is_discarded()) return json;
  } catch (const Error&) {
  }
  return {};
}

void store_cache_file(const std::filesystem::path& path, const nlohmann::json& json) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  try {
    write_file(path, json.dump());
  } catch (const Error&) {
    // It costs time later, not correctness now.
  }
}

}  // namespace mxq
