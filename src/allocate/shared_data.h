// For tests: the authors' tables.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/atomic_file.h"
#include "mxq/error_table.h"

namespace mxq {

inline std::filesystem::path paper_file(const std::string& name) {
  const char* shared = std::getenv("MXQ_SHARED");
  const std::filesystem::path root = shared ? shared : std::filesystem::path(MXQ_SOURCE_DIR) / ".." / "shared";
  return root / "data" / "mxq-paper" / name;
}

inline ErrorTable paper_table(const std::string& name) {
  return read_error_table(read_file(paper_file(name)), name);
}

}  // namespace mxq

#define MXQ_NEED_PAPER_FILE(name)                                                                          \
  if (!std::filesystem::exists(mxq::paper_file(name))) {                                                   \
    GTEST_SKIP() << mxq::paper_file(name) << " is absent (set MXQ_SHARED to the folder that holds data/)"; \
  }
