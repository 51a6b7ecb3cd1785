// How long jobs tell what they are doing.
#pragma once

#include <cstdint>
#include <string_view>

namespace mxq {

/// Called by the library from the calling thread. The default does nothing; the command line draws a bar.
class Progress {
 public:
  virtual ~Progress() = default;
  /// A phase begins; `total` units of work are ahead (weights, tokens, ...).
  virtual void begin(std::string_view phase, int64_t total) {
    (void)phase;
    (void)total;
  }
  /// `done` units of the phase are complete.
  virtual void update(int64_t done) { (void)done; }
  virtual void end() {}
};

/// `progress`, or one that says nothing where it is null.
inline Progress& or_silent(Progress* progress) {
  static Progress silent;
  return progress != nullptr ? *progress : silent;
}

}  // namespace mxq
