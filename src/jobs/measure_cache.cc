#include "jobs/measure_cache.h"

#include <fmt/format.h>

#include <utility>

#include "base/content_hash.h"
#include "format/cache_file.h"
#include "mxq/method.h"

namespace mxq {

namespace {

/// Raised whenever a fit gives other numbers than before.
constexpr int kMeasureVersion = 2;

}  // namespace

MeasureCache::MeasureCache(std::filesystem::path folder) : folder_(std::move(folder)) {
  if (!folder_.empty()) folder_ /= "measure";
}

std::string MeasureCache::key(const std::string& id, int64_t rows, int64_t cols, const QuantizeOptions& options) {
  ContentHash hash;
  hash.add(fmt::format("{} {}x{} {} v{}", id, rows, cols, section_key(options, "quantize"), kMeasureVersion));
  // The one option of calibrated fits that the errors of weights alone depend on too (schemes/affine/symmetric.h,
  // integer_zeros.h).
  if (has_bias(options.metadata) && options.feedback.zero_point != ZeroPoint::real) {
    hash.add(zero_point_name(options.feedback.zero_point));
  }
  return hash.hex();
}

std::filesystem::path MeasureCache::path(const std::string& key) const {
  return folder_ / key.substr(0, 2) / (key.substr(2) + ".json");
}

std::optional<CachedMatrix> MeasureCache::find(const std::string& key) const {
  if (folder_.empty()) return {};
  const auto json = load_cache_file(path(key));
  if (!json) return {};
  try {
    return CachedMatrix{json->at("norm"), json->at("kurtosis"), json->at("fnorm")};
  } catch (const nlohmann::json::exception&) {
    return {};
  }
}

void MeasureCache::store(const std::string& key, const CachedMatrix& matrix) const {
  if (folder_.empty()) return;
  store_cache_file(path(key), {{"norm", matrix.norm}, {"kurtosis", matrix.kurtosis}, {"fnorm", matrix.fnorm}});
}

}  // namespace mxq
