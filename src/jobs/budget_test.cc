// Budgets: how people state them, and what they leave for the matrices, by hand.
#include "mxq/budget.h"

#include <gtest/gtest.h>

#include <cmath>

#include "expect_error.h"
#include "mxq/error.h"
#include "mxq/trials.h"

namespace mxq {
namespace {

ErrorTable table() {
  ErrorTable made;
  for (const char* name : {"a", "b"}) {
    MatrixErrors m;
    m.name = name;
    m.params = 1000;
    m.norm = 1;
    m.schemes = {{"b2g64", 300, 2, 2, 64}, {"b4g64", 550, 1, 4, 64}};
    made.matrices.push_back(m);
  }
  return made;
}

constexpr ModelBytes kModel{.plain = 5000, .headers = 200, .kv_per_token = 16, .max_context = 4096};

int64_t left(Budget::Kind kind, int64_t bytes, int64_t context = 0, int64_t reserve = 0) {
  Budget budget;
  budget.kind = kind;
  budget.bytes = bytes;
  budget.context = context;
  budget.reserve = reserve;
  AllocateOptions options;
  options.objective = Objective::f2;
  return matrix_budget(budget, table(), options, kModel);
}

TEST(BitsBudget, NumbersAndSchemes) {
  EXPECT_EQ(parse_bits_budget("3.25").bits, 3.25);
  EXPECT_EQ(parse_bits_budget("b3g64").scheme, "b3g64");
  for (const char* bad :
       {"", "0", "-3", "nan", "33", "3.25x", "inf", "-inf", "-nan", "1e400", "1e-400", "-1e400", "b9g64", "b"}) {
    EXPECT_THROW(parse_bits_budget(bad), Error) << bad;
  }
}

TEST(MaxLoss, IsAShareAndNeverAGuess) {
  EXPECT_NEAR(parse_max_loss("5%"), std::log(1.05), 1e-15);
  EXPECT_NEAR(parse_max_loss("0.05"), std::log(1.05), 1e-15);
  EXPECT_NEAR(parse_max_loss("500%"), std::log(6.0), 1e-15);
  expect_error(ErrorCode::usage, "'5'; expected 5% or 0.05", [] { parse_max_loss("5"); });
  for (const char* bad : {"", "0", "-1%", "nan", "inf", "1e400", "1", "1.0", "%", "1 %", "0.05x", "-inf%"}) {
    EXPECT_THROW(parse_max_loss(bad), Error) << bad;
  }
}

TEST(MatrixBudget, OfBitsIsOfTheMatricesWeights) {
  Budget budget;
  budget.bits = 3.001;
  EXPECT_EQ(matrix_budget(budget, table(), {}, kModel), 750);  // 2000 * 3.001 / 8 = 750.25, rounded down
  budget.kind = Budget::Kind::scheme;
  budget.scheme = "b4g64";
  EXPECT_EQ(matrix_budget(budget, table(), {}, kModel), 1100);
}

TEST(MatrixBudget, OfSizeIsWhatTheRestLeaves) {
  EXPECT_EQ(left(Budget::Kind::size, 6000), 6000 - 5000 - 200);
  EXPECT_EQ(left(Budget::Kind::size, 5800), 600) << "the smallest plan just fits";
  expect_error(ErrorCode::infeasible, "size: 5.7 KiB (5799 bytes)", [] { left(Budget::Kind::size, 5799); });
  expect_error(ErrorCode::infeasible, "at least 5.7 KiB (5800 bytes): 600 B", [] { left(Budget::Kind::size, 5799); });
}

TEST(MatrixBudget, OfVramLeavesOutTheCacheAndTheReserveAndNoHeaders) {
  EXPECT_EQ(left(Budget::Kind::vram, 20000, 100, 3000), 20000 - 5000 - 1600 - 3000);
  expect_error(ErrorCode::infeasible, "100 tokens", [] { left(Budget::Kind::vram, 10199, 100, 3000); });
  EXPECT_EQ(left(Budget::Kind::vram, 10200, 100, 3000), 600);
  Budget budget;
  budget.kind = Budget::Kind::vram;
  budget.bytes = 1 << 20;
  expect_error(ErrorCode::unsupported, "expected a budget of size or bits",
               [&] { matrix_budget(budget, table(), {}, {}); });
}

}  // namespace
}  // namespace mxq
