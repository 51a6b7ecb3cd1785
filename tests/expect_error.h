// Expects an mxq::Error of a code, with a text in its one line.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "mxq/error.h"

namespace mxq {

template <typename Function>
void expect_error(ErrorCode code, std::string_view message, Function function) {
  try {
    function();
    ADD_FAILURE() << "no error; wanted: " << message;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), ::testing::HasSubstr(std::string(message)));
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
  }
}

}  // namespace mxq
