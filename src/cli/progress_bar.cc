#include "cli/progress_bar.h"

#include <fmt/format.h>

#include <chrono>
#include <string>

#include "cli/standard_streams.h"
#include "mxq/runtime.h"

namespace mxq::cli {

namespace {

class ProgressBar : public Progress {
 public:
  ~ProgressBar() override { clear(); }

  void begin(std::string_view phase, int64_t total) override {
    clear();
    phase_ = phase;
    total_ = total;
    started_ = drawn_ = Clock::now();
  }

  void update(int64_t done) override {
    const auto now = Clock::now();
    const double elapsed = std::chrono::duration<double>(now - started_).count();
    if (elapsed < 1 || now - drawn_ < std::chrono::milliseconds(100)) return;
    drawn_ = now;
    visible_ = true;
    const double share = total_ > 0 ? static_cast<double>(done) / static_cast<double>(total_) : 1;
    const int filled = static_cast<int>(share * kWidth);
    const double left = share > 0 ? elapsed / share - elapsed : 0;
    say(fmt::format("\r\033[K{} [{:=<{}}{: <{}}] {:3.0f} %  {:.0f} s left", phase_, "", filled, "", kWidth - filled,
                    100 * share, left));
  }

  void end() override { clear(); }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kWidth = 30;

  void clear() {
    if (!visible_) return;
    say("\r\033[K");
    visible_ = false;
  }

  std::string phase_;
  int64_t total_ = 0;
  Clock::time_point started_, drawn_;
  bool visible_ = false;
};

}  // namespace

std::unique_ptr<Progress> make_progress_bar(bool wanted) {
  if (wanted && stderr_is_terminal()) return std::make_unique<ProgressBar>();
  return std::make_unique<Progress>();
}

}  // namespace mxq::cli
