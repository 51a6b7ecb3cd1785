#include "allocate/highs.h"
#include "mxq/error.h"

namespace mxq {

bool highs_available() {
  return false;
}

mckp::Solution solve_with_highs(const mckp::Problem&, double) {
  throw Error(ErrorCode::unsupported, "solver highs", "this build of mxq has no HiGHS", "solver exact");
}

}  // namespace mxq
