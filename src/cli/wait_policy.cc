#include "cli/wait_policy.h"

#include <unistd.h>

#include <cstdlib>

namespace mxq::cli {

void limit_spinning([[maybe_unused]] char** argv) {
#ifdef __linux__
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  // 10,000 turns are some 20 microseconds: longer than threads that all run wait, far shorter than a time slice.
  if (::setenv("GOMP_SPINCOUNT", "10000", 0) == 0) ::execv("/proc/self/exe", argv);
#endif
}

}  // namespace mxq::cli
