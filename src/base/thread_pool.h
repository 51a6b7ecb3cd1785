// Threads that help with parallel loops.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

namespace mxq {

/// Threads that come when there is work and are nobody's to wait for. Whoever has work begins it at once and ends when
/// it is done; a helper that the system has not yet put on a core is not missed. So a loop takes no longer beside other
/// busy programs than its share of the cores makes it. (OpenMP's teams begin and end loops together.)
class ThreadPool {
 public:
  /// The process's. Never destroyed, so that threads may outlive main().
  static ThreadPool& instance();

  /// Calls work() in this thread and in up to `helpers` others, until all calls have returned; work() shares out what
  /// there is to do by itself and never throws. From inside of work(), and while another thread's work is being helped
  /// with, this thread works alone.
  void run(int helpers, const std::function<void()>& work);

 private:
  struct Job {
    const std::function<void()>* work;
    int wanted;                   // helpers that may still come
    std::atomic<int> running{0};  // helpers that are at it
  };

  bool begin(Job& job);
  void help();

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;  // under mutex_, as all below
  int threads_ = 0, sleeping_ = 0;
  std::atomic<uint64_t> jobs_{0};  // so far; read without mutex_ by who waits for one
};

}  // namespace mxq
