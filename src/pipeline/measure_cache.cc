#include "pipeline/measure_cache.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/atomic_file.h"
#include "mxq/error.h"

namespace mxq {

namespace {

/// Raised whenever a fit gives other numbers than before.
constexpr int kMeasureVersion = 1;

}  // namespace

MeasureCache::MeasureCache(std::filesystem::path folder) : folder_(std::move(folder)) {
  if (!folder_.empty()) folder_ /= "measure";
}

std::string MeasureCache::key(ContentHash& hash, int64_t rows, int64_t cols, const QuantizeOptions& options) {
  hash.add(fmt::format("{}x{} {} axis{} {} {} v{}", rows, cols, fit_name(options.fit), options.axis,
                       metadata_name(options.metadata), normalize_name(options.normalize), kMeasureVersion));
  return hash.hex();
}

std::filesystem::path MeasureCache::path(const std::string& key) const {
  return folder_ / key.substr(0, 2) / (key.substr(2) + ".json");
}

std::optional<CachedMatrix> MeasureCache::find(const std::string& key) const {
  if (folder_.empty()) return {};
  try {
    const auto json = nlohmann::json::parse(read_file(path(key)));
    return CachedMatrix{json.at("norm"), json.at("kurtosis"), json.at("fnorm")};
  } catch (const Error&) {
    return {};
  } catch (const nlohmann::json::exception&) {
    return {};
  }
}

void MeasureCache::store(const std::string& key, const CachedMatrix& matrix) const {
  if (folder_.empty()) return;
  const nlohmann::json json{{"norm", matrix.norm}, {"kurtosis", matrix.kurtosis}, {"fnorm", matrix.fnorm}};
  std::error_code error;
  std::filesystem::create_directories(path(key).parent_path(), error);
  try {
    write_file(path(key), json.dump());
  } catch (const Error&) {
    // A cache that cannot be written costs time later, not correctness now.
  }
}

}  // namespace mxq
