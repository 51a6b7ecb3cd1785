#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "cli/standard_streams.h"
#include "mxq/runtime.h"

namespace mxq::cli {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// What was said of the whole command, and when.
struct Expected {
  double seconds = 0;
  Clock::time_point since;
};
std::optional<Expected> g_expected;

/// A thread of its own draws, so that time is seen to pass.
class ProgressBar : public Progress {
 public:
  ProgressBar() : drawer_([this] { draw_until_stopped(); }) {}
  ~ProgressBar() override {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    wake_.notify_all();
    drawer_.join();
    clear();
  }

  void begin(std::string_view phase, int64_t total) override {
    const std::lock_guard lock(mutex_);
    clear();
    phase_ = phase;
    total_ = total;
    done_ = 0;
    started_ = Clock::now();
    running_ = true;
  }

  void update(int64_t done) override {
    const std::lock_guard lock(mutex_);
    done_ = done;
  }

  void end() override {
    const std::lock_guard lock(mutex_);
    running_ = false;
    clear();
  }

 private:
  static constexpr int kWidth = 30;

  void draw_until_stopped() {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, std::chrono::milliseconds(200), [this] { return stopped_; })) {
      if (running_ && seconds_since(started_) > 0.5) draw();
    }
  }

  void draw() {
    visible_ = true;
    const double share =
        total_ > 0 ? std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0) : 0.0;
    const int filled = static_cast<int>(share * kWidth);
    say(fmt::format("\r\033[K{} [{:=<{}}{: <{}}] {:3.0f} %{}", phase_, "", filled, "", kWidth - filled, 100 * share,
                    time_left(share)));
  }

  std::string time_left(double share) const {
    const double elapsed = seconds_since(started_);
    if (share > 0) return fmt::format("  {:.0f} s left", elapsed / share - elapsed);
    if (!g_expected) return fmt::format("  {:.0f} s so far", elapsed);
    return fmt::format("  about {:.0f} s left of all",
                       std::max(0.0, g_expected->seconds - seconds_since(g_expected->since)));
  }

  void clear() {
    if (!visible_) return;
    say("\r\033[K");
    visible_ = false;
  }

  std::mutex mutex_;  // of all that follows
  std::condition_variable wake_;
  bool stopped_ = false, running_ = false, visible_ = false;
  std::string phase_;
  int64_t total_ = 0, done_ = 0;
  Clock::time_point started_;
  std::thread drawer_;  // last: it uses the others
};

/// Says how long each phase took.
class PhaseTimes : public Progress {
 public:
  void begin(std::string_view phase, int64_t) override {
    phase_ = phase;
    started_ = Clock::now();
  }
  void end() override { spdlog::debug("{}: {:.2f} s", phase_, seconds_since(started_)); }

 private:
  std::string phase_;
  Clock::time_point started_;
};

}  // namespace

void expect_seconds(double seconds) {
  g_expected = Expected{seconds, Clock::now()};
}

std::unique_ptr<Progress> make_progress_bar(bool wanted) {
  if (wanted && stderr_is_terminal()) return std::make_unique<ProgressBar>();
  if (spdlog::should_log(spdlog::level::debug)) return std::make_unique<PhaseTimes>();
  return std::make_unique<Progress>();
}

}  // namespace mxq::cli
