#include "mxq/runtime.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "mxq/error.h"

namespace mxq {

int64_t peak_rss_bytes() {
  // getrusage() counts what the process was before exec(), too: the pages of whoever forked it.
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  }
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return usage.ru_maxrss;
#else
  return usage.ru_maxrss * int64_t{1024};
#endif
}

bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}

std::filesystem::path program_path() {
  return std::filesystem::canonical("/proc/self/exe");
}

void replace_process(const std::vector<std::string>& arguments,
                     const std::vector<std::pair<std::string, std::string>>& variables) {
  for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> pointers;
  for (const auto& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  ::execvp(pointers[0], pointers.data());
  const int error = errno;
  throw Error(error == ENOENT ? ErrorCode::not_found : ErrorCode::io, "run " + arguments.at(0), std::strerror(error));
}

std::filesystem::path cache_folder() {
  const auto variable = [](const char* name) -> std::filesystem::path {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
  };
  if (auto folder = variable("MXQ_CACHE"); !folder.empty()) return folder;
  if (auto folder = variable("XDG_CACHE_HOME"); !folder.empty()) return folder / "mxq";
  if (auto folder = variable("HOME"); !folder.empty()) return folder / ".cache" / "mxq";
  return {};
}

}  // namespace mxq
