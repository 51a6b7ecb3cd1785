// What a misspelt command or option was meant to be.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace mxq::cli {

/// "; did you mean --metadata?" for the first of `arguments` that is neither a command nor an option of `app` and that
/// differs in at most two letters from one that is; empty where there is none.
std::string suggestion(const CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace mxq::cli
