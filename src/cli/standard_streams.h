// Standard input, output and error, whatever state the caller left them in.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace mxq::cli {

/// To be called first. What is closed of the three is opened on nothing, so that no file of ours gets its number:
/// reading and writing there fail as before. A reader that goes away is an error like any other, not the end.
void guard_streams();

/// Writes to standard error. Where that fails nobody is left to be told.
void say(std::string_view text) noexcept;

/// Prints to standard output, as printable_lines() has it: names come from files.
void put_lines(std::string_view text);
template <typename... Values>
void put(fmt::format_string<Values...> format, Values&&... values) {
  put_lines(fmt::format(format, std::forward<Values>(values)...));
}

/// Prints what others go on with, such as CSV or a model's text: as it is, but to a terminal like the above.
void put_data(std::string_view text);

/// Prints one JSON value and a newline. What it escapes are JSON's own escapes. Throws Error(not_finite) naming the
/// number that is NaN or infinite, for which JSON has no word.
void put_json(const nlohmann::ordered_json& json, int indent = 2);

/// Throws Error(io) where standard output could not be written.
void flush_output();

}  // namespace mxq::cli
