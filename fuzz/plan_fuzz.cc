// Any bytes as a plan file: what is accepted is written and read again as the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "mxq/error.h"
#include "mxq/plan_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string json(reinterpret_cast<const char*>(data), size);
    const std::string again = mxq::write_plan(mxq::read_plan(json, "input"));
    if (mxq::write_plan(mxq::read_plan(again, "output")) != again) std::abort();
  } catch (const mxq::Error&) {
  }
  return 0;
}
