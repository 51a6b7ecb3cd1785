#include "base/parallel.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <mutex>

#include "base/control_group.h"
#include "base/thread_pool.h"

namespace mxq {

namespace {
std::atomic<int> g_threads{0};
constexpr int64_t kPieces = 16;  // of work for each thread
}  // namespace

void set_threads(int n) {
  g_threads = n > 0 ? n : 0;
}

int threads() {
  const int n = g_threads;
  static const int cores = std::max(1, std::min(omp_get_num_procs(), control_group_cores("/").value_or(1 << 20)));
  return n > 0 ? n : cores;
}

void parallel_for(int64_t n, const std::function<void(int64_t)>& body) {
  if (n <= 0) return;
  if (n == 1) return body(0);
  std::exception_ptr error;
  int64_t error_index = std::numeric_limits<int64_t>::max();
  std::atomic<bool> failed{false};
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  const int wanted = threads();
  // Neighbours go to one thread, as what they touch lies in its cache; enough pieces are left to even out the rest.
  const int64_t piece = std::max<int64_t>(1, n / (kPieces * wanted));
  const std::function<void()> work = [&] {
    for (int64_t begin; (begin = next.fetch_add(piece, std::memory_order_relaxed)) < n;) {
      for (int64_t i = begin; i < std::min(begin + piece, n) && !failed.load(std::memory_order_relaxed); ++i) {
        try {
          body(i);
        } catch (...) {
          const std::lock_guard lock(mutex);
          failed = true;
          if (i < error_index) {
            error_index = i;
            error = std::current_exception();
          }
        }
      }
    }
  };
  ThreadPool::instance().run(static_cast<int>(std::min<int64_t>(wanted, n)) - 1, work);
  if (error) std::rethrow_exception(error);
}

}  // namespace mxq
