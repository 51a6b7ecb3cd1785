// For tests: the authors' tables.
#pragma once

#include <string>

#include "mxq/error_table.h"
#include "mxq/files.h"
#include "shared_data.h"

namespace mxq {

inline ErrorTable paper_table(const std::string& name) {
  return read_error_table(read_file(shared_data("mxq-paper/" + name)), name);
}

}  // namespace mxq
