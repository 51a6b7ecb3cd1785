#include "cli/print_plan.h"

#include <gtest/gtest.h>

namespace mxq::cli {
namespace {

std::string printed(const Plan& plan, const ErrorTable& table) {
  testing::internal::CaptureStdout();
  print_plan(plan, table);
  return testing::internal::GetCapturedStdout();
}

/// Two layers of q (1000 weights) and down (3000), a plan of 4 and 8 bits for them.
struct Planned {
  ErrorTable table;
  Plan plan;

  Planned() {
    for (const char* layer : {"0", "1"}) {
      for (const auto& [module, weights] : {std::pair("self_attn.q_proj", 1000), std::pair("mlp.down_proj", 3000)}) {
        MatrixErrors& row = table.matrices.emplace_back();
        row.layer = layer;
        row.module = module;
        row.params = weights;
        const bool wide = row.module == "mlp.down_proj" && row.layer == "1";
        plan.matrices.push_back({"", wide ? "b8g64" : "b4g64", weights * (wide ? 8 : 4) / 8, 0});
        plan.bytes += plan.matrices.back().bytes;
      }
    }
    plan.budget_bytes = 5000;
    plan.bits_per_parameter = 8.0 * 5500 / 8000;
    plan.value = 0.25;
  }
};

TEST(PrintedPlans, CountMatricesAndWeightsOfEachScheme) {
  const Planned planned;
  const std::string text = printed(planned.plan, planned.table);
  EXPECT_NE(text.find("matrices by scheme   weights       q    down\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  b4g64               62.5 %       2       1\n"
                      "  b8g64               37.5 %       .       1\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("budget     4.9 KiB for 4 matrices of 0.0 M weights\n"), std::string::npos) << text;
  EXPECT_NE(text.find(" = 5.5000 bits per parameter\n"), std::string::npos) << text;
}

TEST(PrintedPlans, SayHowFarTheyAreProved) {
  Planned planned;
  EXPECT_NE(printed(planned.plan, planned.table).find("rel = 0.25, proved optimal in "), std::string::npos);
  planned.plan.gap = 0.125;
  EXPECT_NE(printed(planned.plan, planned.table).find("at most 12 % above the optimum in "), std::string::npos);
}

TEST(PrintedPlans, NameTheBestUniformOne) {
  Planned planned;
  EXPECT_NE(printed(planned.plan, planned.table).find("no single scheme fits this budget\n"), std::string::npos);
  planned.plan.best_uniform = UniformPlan{"b4g64", 0.5, 4000};
  EXPECT_NE(printed(planned.plan, planned.table)
                .find("b4g64 is the best that fits: rel = 0.5 in 3.9 KiB; the plan is 50.0 % lower\n"),
            std::string::npos);
}

}  // namespace
}  // namespace mxq::cli
