#include "cli/standard_streams.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>

#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq::cli {

namespace {

void require_numbers(const nlohmann::ordered_json& json, const std::string& name) {
  if (json.is_number_float() && !std::isfinite(json.get<double>())) {
    throw Error(ErrorCode::not_finite, "print JSON", fmt::format("'{}' is {}", name, json.get<double>()),
                "finite numbers");
  }
  if (!json.is_structured()) return;
  for (const auto& [key, value] : json.items()) require_numbers(value, name.empty() ? key : name + "." + key);
}

}  // namespace

void guard_streams() {
  ::signal(SIGPIPE, SIG_IGN);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest number that is free: this one. Opened for the other direction, but for messages, which may get lost.
    ::open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_WRONLY);
  }
}

void say(std::string_view text) noexcept {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void put_lines(std::string_view text) {
  fmt::print("{}", printable_lines(text));
}

void put_data(std::string_view text) {
  ::isatty(STDOUT_FILENO) != 0 ? put_lines(text) : fmt::print("{}", text);
}

void put_json(const nlohmann::ordered_json& json, int indent) {
  require_numbers(json, "");
  // Texts may end within a character.
  put_lines(json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void flush_output() {
  errno = 0;
  std::cout.flush();
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.good();
  if (!written) {
    throw Error(ErrorCode::io, "write standard output", errno != 0 ? std::strerror(errno) : "it failed before");
  }
}

}  // namespace mxq::cli
