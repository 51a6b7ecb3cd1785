// What the tests of tiny decoders share: a tiny model is run, and its logits are set beside those of transformers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>

#include "model/runner/cpu/cpu_runner.h"
#include "model/tiny_model.h"
#include "temporary_folder.h"

namespace mxq {

// Logits of all positions of the reference, from final hidden states of all tokens.
inline Values logits_at_positions(const Runner& runner, const Values& hidden) {
  Values logits;
  const auto vocab = static_cast<size_t>(runner.vocab_size());
  for (const int64_t at : reference()["positions"]) {
    logits.resize(logits.size() + vocab);
    runner.logits(hidden.data() + at * runner.hidden_size(), 1, &logits[logits.size() - vocab]);
  }
  return logits;
}

inline Values expected_logits(const std::string& name) {
  Values expected;
  for (const Values row : reference()["models"][name]["logits"])
    expected.insert(expected.end(), row.begin(), row.end());
  return expected;
}

// Infinite where the sizes differ or anything is NaN.
inline double largest_difference(const Values& a, const Values& b) {
  double worst = a.size() == b.size() ? 0 : std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::abs(double{a[i]} - b[i]);
    worst = difference <= worst ? worst : std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference;
  }
  return worst;
}

// The reference has five decimals; what sums in another order change is below that, or in the sixth digit.
inline double tolerance(const Values& expected) {
  return std::max(4e-5, 1e-5 * largest_difference(expected, Values(expected.size())));
}

class TinyDecoders : public testing::TestWithParam<std::string> {
 protected:
  Values run(const TinyModel& tiny, const RunOptions& options = {}) const {
    tiny.write(folder_.path());
    return run_file(folder_.path(), options);
  }
  Values run_file(const std::filesystem::path& path, const RunOptions& options = {}) const {
    const auto model = open_model(path);
    CpuRunner runner(*model, options);
    return logits_at_positions(runner, runner.hidden(reference_ids()));
  }

  TemporaryFolder folder_;
};

}  // namespace mxq
