#include "cli/standard_streams.h"

#include <gtest/gtest.h>

#include <limits>

#include "expect_error.h"

namespace mxq::cli {
namespace {

template <typename Print>
std::string printed(Print print) {
  testing::internal::CaptureStdout();
  print();
  return testing::internal::GetCapturedStdout();
}

TEST(StandardStreams, NamesFromFilesCannotSteerATerminal) {
  EXPECT_EQ(printed([] { put("name {}\n", "a\x1b[31mb"); }), "name a\\x1b[31mb\n");
}

TEST(StandardStreams, DataThatIsRedirectedIsAsItWas) {
  EXPECT_EQ(printed([] { put_data("a\x1b[31mb\n"); }), "a\x1b[31mb\n");
}

TEST(StandardStreams, JsonOfBrokenTextsIsJson) {
  const std::string text = printed([] { put_json({{"text", "ab\xC3"}}); });
  EXPECT_EQ(nlohmann::json::parse(text)["text"], "ab\xEF\xBF\xBD");
}

TEST(StandardStreams, JsonHasNoWordForNan) {
  expect_error(ErrorCode::not_finite, "print JSON: 'trials.kl' is nan; expected finite numbers", [] {
    put_json({{"trials", {{"kl", std::numeric_limits<double>::quiet_NaN()}}}});
  });
}

}  // namespace
}  // namespace mxq::cli
