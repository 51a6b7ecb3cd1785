// Standard input, output and error, whatever state the caller left them in.
#pragma once

#include <string_view>

namespace mxq::cli {

/// To be called first. What is closed of the three is opened on nothing, so that no file of ours gets its number:
/// reading and writing there fail as before. A reader that goes away is an error like any other, not the end.
void guard_streams();

/// Writes to standard error. Where that fails nobody is left to be told.
void say(std::string_view text) noexcept;

/// Throws Error(io) where standard output could not be written.
void flush_output();

}  // namespace mxq::cli
