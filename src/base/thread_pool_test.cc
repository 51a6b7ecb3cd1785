#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/parallel.h"

namespace mxq {
namespace {

class Threads : public testing::Test {
 protected:
  void TearDown() override { set_threads(0); }
};

TEST_F(Threads, EveryIndexOnceWithAnyNumber) {
  for (const int count : {1, 2, 3, 17}) {
    set_threads(count);
    for (const int64_t n : {0, 1, 2, 5, 1000, 10007}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
      parallel_for(n, [&](int64_t i) { ++seen[static_cast<size_t>(i)]; });
      for (const auto& times : seen) ASSERT_EQ(times, 1) << n << " by " << count;
    }
  }
}

// Each waits for the other: one thread alone would never end.
TEST_F(Threads, TwoThreadsWorkAtOnce) {
  set_threads(2);
  std::atomic<int> there{0};
  parallel_for(2, [&](int64_t) {
    ++there;
    while (there < 2) std::this_thread::yield();
  });
  EXPECT_EQ(there, 2);
}

TEST_F(Threads, LoopsWithinLoopsRunInTheirThread) {
  set_threads(4);
  std::atomic<int64_t> sum{0};
  parallel_for(50, [&](int64_t i) {
    const auto self = std::this_thread::get_id();
    parallel_for(20, [&](int64_t j) {
      EXPECT_EQ(std::this_thread::get_id(), self);
      sum += i * j;
    });
  });
  EXPECT_EQ(sum, 49 * 50 / 2 * (19 * 20 / 2));
}

TEST_F(Threads, ManyCallersAtOnce) {
  set_threads(3);
  std::vector<std::thread> callers;
  std::vector<int64_t> sums(6);
  for (int64_t& sum : sums) {
    callers.emplace_back([&sum] {
      for (int round = 0; round < 300; ++round) {
        std::vector<int64_t> squares(97);
        parallel_for(97, [&](int64_t i) { squares[static_cast<size_t>(i)] = i * i; });
        sum += std::accumulate(squares.begin(), squares.end(), int64_t{0});
      }
    });
  }
  for (auto& caller : callers) caller.join();
  for (const int64_t sum : sums) EXPECT_EQ(sum, 300 * (96 * 97 * 193 / 6));
}

TEST_F(Threads, AnErrorComesBackAndTheNextLoopRuns) {
  set_threads(4);
  for (int round = 0; round < 200; ++round) {
    EXPECT_THROW(parallel_for(64,
                              [](int64_t i) {
                                if (i % 7 == 3) throw std::runtime_error("seven");
                              }),
                 std::runtime_error);
    std::atomic<int> count{0};
    parallel_for(64, [&](int64_t) { ++count; });
    ASSERT_EQ(count, 64);
  }
}

TEST_F(Threads, HelpersThatSleepAreWoken) {
  set_threads(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // longer than they spin
    std::atomic<int> there{0};
    parallel_for(2, [&](int64_t) {
      ++there;
      while (there < 2) std::this_thread::yield();
    });
  }
}

}  // namespace
}  // namespace mxq
