#include "harness/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <array>
#include <cerrno>
#include <cstring>

#include "base/stopwatch.h"
#include "mxq/error.h"

namespace mxq {

namespace {

/// Of standard error is kept as much.
constexpr size_t kLogBytes = size_t{64} << 10;

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  ~Descriptor() { close(); }
  Descriptor& operator=(Descriptor&& other) noexcept {
    close();
    fd_ = other.release();
    return *this;
  }
  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

struct Pipe {
  Descriptor read, write;
};

Pipe make_pipe(const std::string& program) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(ErrorCode::io, "run " + program, std::strerror(errno));
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

/// In the child: what may be done between fork and exec only. Does not return.
[[noreturn]] void become(char* const* arguments, pid_t parent, int input, int output, int log, int report) {
#ifdef __linux__
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it ended before that was said
#else
  (void)parent;
#endif
  ::dup2(input, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::execvp(arguments[0], arguments);
  const int error = errno;
  [[maybe_unused]] const auto written = ::write(report, &error, sizeof error);
  ::_exit(127);
}

/// Reads both to their ends.
void drain(int output, int log, ChildResult& result) {
  std::array<pollfd, 2> ends{{{output, POLLIN, 0}, {log, POLLIN, 0}}};
  std::array<char, 1 << 16> buffer;
  for (int open = 2; open > 0;) {
    if (::poll(ends.data(), ends.size(), -1) < 0) {
      if (errno == EINTR) continue;
      break;
    }
    for (size_t i = 0; i < ends.size(); ++i) {
      if (ends[i].fd < 0 || ends[i].revents == 0) continue;
      const ssize_t n = ::read(ends[i].fd, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        ends[i].fd = -1;
        --open;
        continue;
      }
      std::string& to = i == 0 ? result.output : result.log;
      to.append(buffer.data(), static_cast<size_t>(n));
      if (i == 1 && to.size() > 2 * kLogBytes) to.erase(0, to.size() - kLogBytes);
    }
  }
}

}  // namespace

ChildResult run_child(const std::vector<std::string>& arguments) {
  const Stopwatch watch;
  const std::string& program = arguments.at(0);
  Pipe output = make_pipe(program), log = make_pipe(program), report = make_pipe(program);
  const Descriptor nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::vector<char*> pointers;
  for (const auto& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  const pid_t self = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw Error(ErrorCode::io, "run " + program, std::strerror(errno));
  if (child == 0) {
    become(pointers.data(), self, nothing.get(), output.write.get(), log.write.get(), report.write.get());
  }
  output.write.close();
  log.write.close();
  report.write.close();
  int error = 0;
  const bool started = ::read(report.read.get(), &error, sizeof error) != static_cast<ssize_t>(sizeof error);
  ChildResult result;
  if (started) drain(output.read.get(), log.read.get(), result);
  int status = 0;
  struct rusage usage{};
  while (::wait4(child, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  if (!started) {
    throw Error(error == ENOENT ? ErrorCode::not_found : ErrorCode::io, "run " + program, std::strerror(error));
  }
  result.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
#ifdef __APPLE__
  result.peak_rss_bytes = usage.ru_maxrss;
#else
  result.peak_rss_bytes = usage.ru_maxrss * int64_t{1024};
#endif
  result.seconds = watch.seconds();
  return result;
}

}  // namespace mxq
