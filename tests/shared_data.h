// Where reference data lies: $MXQ_SHARED, else ../shared beside the source folder.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace mxq {

/// `relative` names a file or folder below data/. It may be absent.
inline std::filesystem::path shared_data(const std::filesystem::path& relative) {
  const char* set = std::getenv("MXQ_SHARED");
  const std::filesystem::path root =
      set ? std::filesystem::path(set) : std::filesystem::path(MXQ_SOURCE_DIR) / "../shared";
  return root / "data" / relative;
}

}  // namespace mxq

/// Skips the test, saying so, where the data is absent.
#define MXQ_NEEDS_SHARED_DATA(relative)                                                                         \
  if (!std::filesystem::exists(mxq::shared_data(relative))) {                                                   \
    GTEST_SKIP() << mxq::shared_data(relative) << " is absent (set MXQ_SHARED to the folder that holds data/)"; \
  }
