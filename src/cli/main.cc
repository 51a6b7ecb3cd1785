// The program: parses the command line, runs one subcommand, turns errors into one line and an exit code.
#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <exception>
#include <iostream>
#include <memory>
#include <new>
#include <string>
#include <system_error>

#include "cli/commands.h"
#include "cli/option_modes.h"
#include "cli/standard_streams.h"
#include "cli/suggest.h"
#include "mxq/error.h"
#include "mxq/method.h"
#include "mxq/runtime.h"
#include "mxq/text.h"

namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

constexpr const char* kIntro =
    "mxq fits a transformer into a memory budget without calibration data.\n\n"
    "The one command most people need:\n\n"
    "    mxq quantize MODEL --bits 3.25 -o OUT\n\n"
    "MODEL is a Hugging Face folder (safetensors or .bin), a .gguf or a .pth; OUT becomes a checkpoint folder.\n"
    "Other budgets: --size 4GiB (weight files), --vram 8GiB --context 4096.\n";

int report(std::string message, int status) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  mxq::cli::say(fmt::format("mxq: error: {}\n", mxq::printable(message)));
  return status;
}

/// The library names concepts; what the command line calls by a flag is named by that.
std::string flagged(const mxq::Error& e) {
  if (mxq::find_method_field(e.operation()) == nullptr) return e.what();
  return mxq::Error(e.code(), "--" + e.operation(), e.given(), e.supported()).what();
}
/// %* of a pattern: the message as one printable line.
class PrintableMessage : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    const std::string line = mxq::printable({message.payload.data(), message.payload.size()});
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<PrintableMessage>(); }
};

void set_up(const mxq::cli::CommonOptions& common) {
  mxq::set_threads(common.threads);
  auto logger = std::make_shared<spdlog::logger>("mxq", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  auto pattern = std::make_unique<spdlog::pattern_formatter>();
  pattern->add_flag<PrintableMessage>('*').set_pattern("mxq: %*");
  logger->set_formatter(std::move(pattern));
  logger->set_level(common.quiet ? spdlog::level::warn : spdlog::level::from_str(common.log_level));
  spdlog::set_default_logger(std::move(logger));
}

int run(int argc, char** argv) {
  CLI::App app{kIntro, "mxq"};
  mxq::cli::CommonOptions common;
  app.set_version_flag("--version", "mxq " MXQ_VERSION);
  app.require_subcommand(0, 1);
  app.fallthrough();
  app.get_formatter()->column_width(34);
  add_common(app, common);
  app.parse_complete_callback([&] { set_up(common); });
  mxq::cli::add_commands(app, common);
  mxq::cli::check_option_table(app);
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) std::cout << app.help();
  } catch (const CLI::Success& e) {
    app.exit(e);  // --help and --version
  } catch (const CLI::ParseError& e) {
    return report(e.what() + mxq::cli::suggestion(app, {argv + 1, argv + argc}), kWrongUsage);
  }
  mxq::cli::flush_output();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  mxq::cli::guard_streams();
  try {
    return run(argc, argv);
  } catch (const mxq::Error& e) {
    return report(flagged(e), e.code() == mxq::ErrorCode::usage ? kWrongUsage : kFailed);
  } catch (const std::bad_alloc&) {
    return report("out of memory", kFailed);
  } catch (const std::system_error& e) {
    // fmt throws these, with a text that does not say where.
    if (std::ferror(stdout) != 0) return report("write standard output: " + e.code().message(), kFailed);
    return report(e.what(), kFailed);
  } catch (const std::exception& e) {
    return report(e.what(), kFailed);
  }
}
