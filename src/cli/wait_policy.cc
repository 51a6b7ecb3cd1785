#include "cli/wait_policy.h"

#include <unistd.h>

#include <cstdlib>
#include <initializer_list>

namespace mxq::cli {

void settle_threads([[maybe_unused]] char** argv) {
#ifdef __linux__
  bool changed = false;
  // Read before main(): stacks too small for the work would crash.
  for (const char* name : {"OMP_STACKSIZE", "GOMP_STACKSIZE", "KMP_STACKSIZE"}) {
    if (std::getenv(name) != nullptr) changed |= ::unsetenv(name) == 0;
  }
  if (std::getenv("OMP_WAIT_POLICY") == nullptr && std::getenv("GOMP_SPINCOUNT") == nullptr) {
    // 10,000 turns are some 20 microseconds: longer than threads that all run wait, far shorter than a time slice.
    changed |= ::setenv("GOMP_SPINCOUNT", "10000", 0) == 0;
  }
  if (changed) ::execv("/proc/self/exe", argv);
#endif
}

}  // namespace mxq::cli
