#include "base/thread_pool.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>
#include <vector>

namespace mxq {

namespace {

using Clock = std::chrono::steady_clock;

/// Longer than from one loop of a forward pass to the next, far shorter than a time slice
/// (docs/decisions/0017-threads-of-its-own.md).
constexpr auto kSpin = std::chrono::microseconds(200);

/// True in a thread that runs work(): its loops are its own.
thread_local bool t_working = false;

/// OpenMP, which only oneDNN uses, binds the first thread to one core where the environment says so (OMP_PROC_BIND),
/// and other threads would inherit that.
void leave_bound_core() {
#ifdef __linux__
  cpu_set_t cores;
  CPU_ZERO(&cores);
  for (int place = 0; place < omp_get_num_places(); ++place) {
    std::vector<int> ids(static_cast<size_t>(omp_get_place_num_procs(place)));
    omp_get_place_proc_ids(place, ids.data());
    for (const int id : ids) {
      if (id < CPU_SETSIZE) CPU_SET(static_cast<size_t>(id), &cores);
    }
  }
  if (CPU_COUNT(&cores) > 0) ::pthread_setaffinity_np(::pthread_self(), sizeof cores, &cores);
#endif
}

/// Looks until ready() is true, for a while. Others that wait for a core get this one.
template <typename Ready>
void spin(const Ready& ready) {
  const auto end = Clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return;
    }
    std::this_thread::yield();
  } while (Clock::now() < end);
}

}  // namespace

ThreadPool& ThreadPool::instance() {
  static auto* const pool = new ThreadPool;
  return *pool;
}

void ThreadPool::run(int helpers, const std::function<void()>& work) {
  Job job{&work, helpers};
  const bool shared = helpers > 0 && !t_working && begin(job);
  const bool within = t_working;
  t_working = true;
  work();
  t_working = within;
  if (!shared) return;
  {
    const std::lock_guard lock(mutex_);
    job_ = nullptr;  // nobody comes any more
  }
  const auto ended = [&] { return job.running.load(std::memory_order_acquire) == 0; };
  spin(ended);
  std::unique_lock lock(mutex_);  // the last helper lets go of the job under it
  done_.wait(lock, ended);
}

/// True where helpers may come to this job.
bool ThreadPool::begin(Job& job) {
  int to_wake = 0;
  {
    const std::lock_guard lock(mutex_);
    if (job_ != nullptr) return false;
    for (; threads_ < job.wanted; ++threads_) {
      try {
        std::thread([this] { help(); }).detach();
      } catch (const std::system_error&) {
        break;  // the system has no more: those that there are help
      }
    }
    job_ = &job;
    jobs_.fetch_add(1, std::memory_order_release);
    to_wake = std::min(sleeping_, job.wanted);
  }
  for (; to_wake > 0; --to_wake) wake_.notify_one();
  return true;
}

void ThreadPool::help() {
  t_working = true;
  leave_bound_core();
  uint64_t seen = 0;
  for (;;) {
    const auto another = [&] { return jobs_.load(std::memory_order_acquire) != seen; };
    spin(another);
    std::unique_lock lock(mutex_);
    ++sleeping_;
    wake_.wait(lock, another);
    --sleeping_;
    seen = jobs_.load(std::memory_order_relaxed);
    Job* const job = job_;
    if (job == nullptr || job->wanted == 0) continue;
    --job->wanted;
    job->running.fetch_add(1, std::memory_order_relaxed);
    lock.unlock();
    (*job->work)();
    lock.lock();
    if (job->running.fetch_sub(1, std::memory_order_release) == 1) done_.notify_all();
  }
}

}  // namespace mxq
