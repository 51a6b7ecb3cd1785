#include "cli/suggest.h"

#include <gtest/gtest.h>

namespace mxq::cli {
namespace {

class Suggestions : public testing::Test {
 protected:
  Suggestions() {
    app_.add_flag("--quiet");
    CLI::App* quantize = app_.add_subcommand("quantize");
    quantize->add_option("MODEL");
    quantize->add_option_group("Method")->add_option("--metadata");
    quantize->add_option("--bits");
    app_.add_subcommand("bench")->add_subcommand("export");
  }
  std::string of(std::vector<std::string> arguments) const { return suggestion(app_, arguments); }

  CLI::App app_;
};

TEST_F(Suggestions, NameWhatWasMeant) {
  EXPECT_EQ(of({"quantise"}), "; did you mean quantize?");
  EXPECT_EQ(of({"quantize", "model", "--metdata", "q8"}), "; did you mean --metadata?") << "of a group";
  EXPECT_EQ(of({"quantize", "model", "--quite"}), "; did you mean --quiet?") << "of the program";
  EXPECT_EQ(of({"quantize", "model", "--metdata=q8"}), "; did you mean --metadata?");
  EXPECT_EQ(of({"bench", "exprot"}), "; did you mean export?");
}

TEST_F(Suggestions, NothingWhereNothingIsNear) {
  EXPECT_EQ(of({"quantize", "model", "--bits", "3"}), "") << "all is known";
  EXPECT_EQ(of({"serve"}), "");
  EXPECT_EQ(of({"quantize", "quantise"}), "") << "a model's path";
  EXPECT_EQ(of({"quantize", "--", "--metdata"}), "") << "no option";
  EXPECT_EQ(of({"quantize", "-x"}), "");
  EXPECT_EQ(of({"quantize", "--font"}), "") << "another word of a few letters";
}

}  // namespace
}  // namespace mxq::cli
