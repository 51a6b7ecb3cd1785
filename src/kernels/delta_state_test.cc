// Every instruction set of this machine against the scalar reference, and that against the definitions in fp64.
#include "kernels/delta_state.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "random_floats.h"
#include "simd_targets.h"

namespace mxq {
namespace {

using Values = std::vector<float>;

class DeltaState : public EverySimdTarget {
 protected:
  static constexpr unsigned kSeed = 17;

  /// A head with a state, a token and a gradient.
  struct Head {
    int64_t keys, values;
    Values state, key, query, value, outer, gradient;
    float decay = 0.8f, rate = 0.6f;

    DeltaToken token() const { return {key.data(), query.data(), value.data(), decay, rate}; }
  };

  Head head(int64_t keys, int64_t values) {
    Head made{keys, values, {}, {}, {}, {}, {}, {}};
    for (auto* of_both : {&made.state, &made.gradient}) *of_both = random(keys * values);
    for (auto* of_keys : {&made.key, &made.query}) *of_keys = random(keys);
    for (auto* of_values : {&made.value, &made.outer}) *of_values = random(values);
    for (float& k : made.key) k /= std::sqrt(static_cast<float>(keys));
    return made;
  }

  Values random(int64_t n) { return normal_floats(random_, n); }

  std::mt19937 random_{kSeed};
};

/// Of doubles: S' = decay S + rate key (value - decay S^T key)^T; out = S'^T query.
struct Defined {
  std::vector<double> state, error, out;

  explicit Defined(const DeltaToken& token, const Values& before, int64_t keys, int64_t values)
      : state(before.begin(), before.end()) {
    for (double& s : state) s *= token.decay;
    for (int64_t j = 0; j < values; ++j) {
      double e = token.value[j], sum = 0;
      for (int64_t i = 0; i < keys; ++i) e -= state[static_cast<size_t>(i * values + j)] * token.key[i];
      for (int64_t i = 0; i < keys; ++i) {
        double& s = state[static_cast<size_t>(i * values + j)];
        s += double{token.rate} * token.key[i] * e;
        sum += s * token.query[i];
      }
      error.push_back(e);
      out.push_back(sum);
    }
  }
};

constexpr std::pair<int64_t, int64_t> kShapes[] = {{1, 1}, {4, 3}, {8, 8}, {16, 17}, {5, 64}, {32, 100}, {128, 128}};

TEST_P(DeltaState, Step) {
  for (const auto& [keys, values] : kShapes) {
    SCOPED_TRACE(testing::Message() << keys << " x " << values << ", seed " << kSeed);
    const Head made = head(keys, values);
    const auto n = static_cast<size_t>(values);
    Values state = made.state, error(n), out(n), state_ref = made.state, error_ref(n), out_ref(n);
    delta_step(state.data(), keys, values, made.token(), error.data(), out.data());
    ref::delta_step(state_ref.data(), keys, values, made.token(), error_ref.data(), out_ref.data());
    EXPECT_EQ(state, state_ref);
    EXPECT_EQ(error, error_ref);
    EXPECT_EQ(out, out_ref);
    const Defined defined(made.token(), made.state, keys, values);
    for (size_t i = 0; i < state.size(); ++i) ASSERT_NEAR(state[i], defined.state[i], 1e-5) << i;
    for (size_t j = 0; j < n; ++j) {
      ASSERT_NEAR(error[j], defined.error[j], 1e-5) << j;
      ASSERT_NEAR(out[j], defined.out[j], 1e-4) << j;
    }
  }
}

// The slope of outer * out + gradient * state' along a direction of everything that goes in.
TEST_P(DeltaState, StepBackIsTheSlopeOfTheStep) {
  for (const auto& [keys, values] : kShapes) {
    SCOPED_TRACE(testing::Message() << keys << " x " << values << ", seed " << kSeed);
    const Head at = head(keys, values), along = head(keys, values);
    Values state = at.state, out(at.value.size()), error(at.value.size());
    delta_step(state.data(), keys, values, at.token(), error.data(), out.data());
    struct Found {
      Values of_state, key, query, value;
      DeltaTokenGradient of_token;
    };
    const auto back = [&, keys = keys, values = values](auto step_back) {
      Found found{at.gradient, Values(at.key.size()), Values(at.key.size()), Values(at.value.size()), {}};
      found.of_token = {found.key.data(), found.query.data(), found.value.data()};
      step_back(at.state.data(), keys, values, at.token(), error.data(), at.outer.data(), found.of_state.data(),
                found.of_token);
      return found;
    };
    const Found found = back(delta_step_back), expected = back(ref::delta_step_back);
    const auto near = [](const Values& a, const Values& b) {
      for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 2e-5 * (1 + std::abs(b[i]))) << i;
    };
    near(found.of_state, expected.of_state);
    near(found.key, expected.key);
    near(found.query, expected.query);
    near(found.value, expected.value);
    const auto dot = [](const Values& a, const Values& b) {
      double sum = 0;
      for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
      return sum;
    };
    const double slope = dot(found.of_state, along.state) + dot(found.key, along.key) + dot(found.query, along.query) +
                         dot(found.value, along.value) + double{found.of_token.decay} * along.decay +
                         double{found.of_token.rate} * along.rate;
    const auto value = [&, keys = keys, values = values](double h) {
      Head moved = at;
      const auto move = [h](Values& x, const Values& direction) {
        for (size_t i = 0; i < x.size(); ++i) x[i] += static_cast<float>(h) * direction[i];
      };
      move(moved.state, along.state);
      move(moved.key, along.key);
      move(moved.query, along.query);
      move(moved.value, along.value);
      moved.decay += static_cast<float>(h) * along.decay;
      moved.rate += static_cast<float>(h) * along.rate;
      const Defined defined(moved.token(), moved.state, keys, values);
      double sum = 0;
      for (size_t i = 0; i < defined.state.size(); ++i) sum += at.gradient[i] * defined.state[i];
      for (size_t j = 0; j < defined.out.size(); ++j) sum += at.outer[j] * defined.out[j];
      return sum;
    };
    constexpr double h = 1.0 / 512;
    const auto difference = [&](double step) { return (value(step) - value(-step)) / (2 * step); };
    EXPECT_NEAR(slope, (4 * difference(h) - difference(2 * h)) / 3, 1e-3 * (1 + std::abs(slope)));
  }
}

MXQ_FOR_EVERY_SIMD_TARGET(DeltaState);

}  // namespace
}  // namespace mxq
