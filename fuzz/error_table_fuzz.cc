// Any bytes as an error table: what is accepted survives a round trip and can be planned.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "mxq/allocate.h"
#include "mxq/error.h"
#include "mxq/error_table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto table = mxq::read_error_table({reinterpret_cast<const char*>(data), size}, "input");
    const std::string csv = mxq::write_error_table(table);
    if (mxq::write_error_table(mxq::read_error_table(csv, "output")) != csv) std::abort();
    mxq::AllocateOptions options;
    options.objective = mxq::Objective::f;
    const auto range = mxq::reachable_bytes(table, options);
    const int64_t budget = range.smallest + (range.largest - range.smallest) / 2;
    if (mxq::allocate(table, budget, options).bytes > budget) std::abort();
  } catch (const mxq::Error&) {
  }
  return 0;
}
