// A program run to its end, in a process of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace mxq {

struct ChildResult {
  int exit_code = 0;   // 128 + signal where one ended it
  std::string output;  // all of standard output
  std::string log;     // the end of standard error
  int64_t peak_rss_bytes = 0;
  double seconds = 0;
};

/// `arguments` begin with the program, which is looked for in PATH. It runs in `folder`; empty: where this process
/// does. Standard input is empty. The child and what it started in turn are one process group: all of it is killed when
/// the child has ended, and when this process ends, however it does. What leaves the group (setsid) is out of reach.
/// Throws Error(not_found) where there is no such program, Error(io) where the system refuses.
ChildResult run_child(const std::vector<std::string>& arguments, const std::filesystem::path& folder = {});

}  // namespace mxq
