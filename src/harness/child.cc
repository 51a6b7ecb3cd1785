#include "harness/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
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
[[noreturn]] void become(char* const* arguments, const char* folder, pid_t parent, int input, int output, int log,
                         int report) {
  ::setpgid(0, 0);
  ::signal(SIGPIPE, SIG_DFL);  // this program's own choice is not that of others
#ifdef __linux__
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it ended before that was said
#else
  (void)parent;
#endif
  ::dup2(input, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  if (*folder == '\0' || ::chdir(folder) == 0) ::execvp(arguments[0], arguments);
  const int error = errno;
  [[maybe_unused]] const auto written = ::write(report, &error, sizeof error);
  ::_exit(127);
}

void close_all_but(int kept) {
#ifdef __linux__
  if ((kept == 0 || ::close_range(0, static_cast<unsigned>(kept) - 1, 0) == 0) &&
      ::close_range(static_cast<unsigned>(kept) + 1, ~0U, 0) == 0) {
    return;
  }
#endif
  const long limit = ::sysconf(_SC_OPEN_MAX);
  for (int fd = 0; fd < limit; ++fd) {
    if (fd != kept) ::close(fd);
  }
}

/// A process that kills the group `leader` as soon as nobody holds the other end of its pipe: signals that a parent's
/// death sends reach children alone, not theirs.
class Guard {
 public:
  Guard(pid_t leader, const std::string& program) : pipe_(make_pipe(program)), process_(::fork()) {
    if (process_ < 0) {
      const int error = errno;
      ::kill(-leader, SIGKILL);
      throw Error(ErrorCode::io, "run " + program, std::strerror(error));
    }
    if (process_ > 0) return;
    ::setsid();  // out of reach of what a terminal sends its group
    close_all_but(pipe_.read.get());
    char nothing;
    // The write end is closed with all others: only the worker holds one.
    while (::read(pipe_.read.get(), &nothing, 1) < 0 && errno == EINTR) {
    }
    ::kill(-leader, SIGKILL);
    ::_exit(0);
  }
  ~Guard() { end(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  /// Kills the group now; it must not have been waited for, so that its number is still its own.
  void end() {
    if (process_ < 0) return;
    pipe_.write.close();
    while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
    process_ = -1;
  }

 private:
  Pipe pipe_;
  pid_t process_;
};

/// Readable once the process has ended; -1 where the system has no such thing.
Descriptor open_process(pid_t process) {
#ifdef __linux__
  return Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
#else
  (void)process;
  return Descriptor();
#endif
}

/// Reads both to their ends, or, once `child` has ended and its group with it, what is still in them.
void drain(int output, int log, int child, Guard& guard, ChildResult& result) {
  std::array<pollfd, 3> ends{{{output, POLLIN, 0}, {log, POLLIN, 0}, {child, POLLIN, 0}}};
  std::array<char, 1 << 16> buffer;
  bool ended = false;
  for (int open = 2; open > 0;) {
    const int ready = ::poll(ends.data(), ends.size(), ended ? 0 : -1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) break;
    if (ends[2].fd >= 0 && ends[2].revents != 0) {
      guard.end();
      ends[2].fd = -1;
      ended = true;
    }
    for (size_t i = 0; i < 2; ++i) {
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

/// Without taking its status, which gives its number free.
void await_end(pid_t child) {
  siginfo_t info;
  while (::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
  }
}

}  // namespace

ChildResult run_child(const std::vector<std::string>& arguments, const std::filesystem::path& folder) {
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
    become(pointers.data(), folder.c_str(), self, nothing.get(), output.write.get(), log.write.get(),
           report.write.get());
  }
  ::setpgid(child, child);  // as the child does: whoever comes first
  output.write.close();
  log.write.close();
  report.write.close();
  Guard guard(child, program);
  int error = 0;
  const bool started = ::read(report.read.get(), &error, sizeof error) != static_cast<ssize_t>(sizeof error);
  ChildResult result;
  if (started) drain(output.read.get(), log.read.get(), open_process(child).get(), guard, result);
  await_end(child);
  guard.end();
  int status = 0;
  struct rusage usage {};
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
