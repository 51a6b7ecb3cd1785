#include "cli/option_modes.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "cli/commands.h"
#include "expect_error.h"

namespace mxq::cli {
namespace {

/// Thrown once a line is parsed, before its command runs: a command's callback also owns what its options set.
struct Parsed {};

/// The program's commands, of which none runs.
class Commands : public testing::Test {
 protected:
  Commands() {
    app_.fallthrough();
    app_.set_version_flag("--version", "mxq");
    add_common(app_, common_);
    add_commands(app_, common_);
    app_.parse_complete_callback([] { throw Parsed(); });
  }

  /// The command of a line, parsed.
  const CLI::App& parse(const std::string& command, const std::string& arguments) {
    app_.clear();
    EXPECT_THROW(app_.parse(command + " " + arguments), Parsed);
    return *app_.get_subcommand(command);
  }

  CommonOptions common_;
  CLI::App app_{"", "mxq"};
};

TEST_F(Commands, EveryOptionHasItsModes) {
  EXPECT_NO_THROW(check_option_table(app_));
  app_.get_subcommand("plan")->add_flag("--fast");
  EXPECT_THROW(check_option_table(app_), std::logic_error) << "an option that the table lacks";
}

TEST_F(Commands, TheTableHasNoOthers) {
  CLI::App less("", "mxq");
  add_common(less, common_);
  add_inspect(less, common_);
  EXPECT_THROW(check_option_table(less), std::logic_error);
}

TEST_F(Commands, WhatHasNoEffectIsRefused) {
  const CLI::App& quantize = parse("quantize", "m -o out --uniform b4g64 --pin x=b4g64");
  expect_error(ErrorCode::usage, "quantize: --pin has no effect with --uniform; expected ",
               [&] { refuse_unused(quantize, Mode::quantize_uniform); });
  const CLI::App& measure = parse("measure", "m --sample-tokens 96");
  expect_error(
      ErrorCode::usage,
      "measure: --sample-tokens has no effect with no --sensitivity; expected --sample-tokens with --sensitivity",
      [&] { refuse_unused(measure, Mode::measure_errors); });
}

TEST_F(Commands, WhatHasAnEffectIsNot) {
  EXPECT_NO_THROW(
      refuse_unused(parse("quantize", "m -o out --bits 3 --pin x=b4g64 --no-verify"), Mode::quantize_budget));
  EXPECT_NO_THROW(refuse_unused(parse("quantize", "m -o out --bits 3 --verify"), Mode::quantize_verify));
  EXPECT_NO_THROW(refuse_unused(parse("measure", "m --sensitivity --sample-tokens 96"), Mode::measure_sensitivity));
}

TEST_F(Commands, OptionsOfTheProgramToo) {
  const CLI::App& report = parse("report", "s.db -o out --json");
  expect_error(ErrorCode::usage, "report: --json has no effect; expected the command without it",
               [&] { refuse_unused(report, Mode::report); });
}

}  // namespace
}  // namespace mxq::cli
