// What has been measured before, remembered by content.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "mxq/scheme.h"

namespace mxq {

/// Results of one matrix under one set of QuantizeOptions.
struct CachedMatrix {
  double norm = 0;
  double kurtosis = 0;
  std::map<std::string, double> fnorm;  // by scheme
};

/// A folder with one small JSON file a (matrix content, options); files are replaced atomically, and one that is torn
/// or of another version counts as absent. Several processes may use one folder.
class MeasureCache {
 public:
  /// An empty path remembers nothing.
  explicit MeasureCache(std::filesystem::path folder);

  /// Key of a matrix; `id` tells its stored bytes.
  static std::string key(const std::string& id, int64_t rows, int64_t cols, const QuantizeOptions& options);

  std::optional<CachedMatrix> find(const std::string& key) const;
  /// Failures to write are ignored: the cache only saves time.
  void store(const std::string& key, const CachedMatrix& matrix) const;

 private:
  std::filesystem::path path(const std::string& key) const;

  std::filesystem::path folder_;
};

}  // namespace mxq
