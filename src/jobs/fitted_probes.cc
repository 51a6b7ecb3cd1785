#include "jobs/fitted_probes.h"

#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

#include "mxq/error.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const char* what, const fs::path& folder) {
  throw Error(ErrorCode::io, std::string(what) + " a temporary file in " + folder.string(),
              std::strerror(errno == 0 ? EIO : errno));
}

}  // namespace

FittedProbes::FittedProbes(const fs::path& folder) : folder_(folder) {
  std::error_code ignored;
  fs::create_directories(folder_, ignored);
  std::string name = (folder_ / "probes.XXXXXX").string();
  const int file = ::mkstemp(name.data());
  if (file < 0) fail("make", folder_);
  ::unlink(name.c_str());
  file_.reset(::fdopen(file, "w+b"));
  if (file_ == nullptr) {
    ::close(file);
    fail("make", folder_);
  }
  std::setvbuf(file_.get(), nullptr, _IONBF, 0);  // parts are large, and a full disk is to be noticed at once
}

void FittedProbes::seek(int64_t at, const char* what) const {
  errno = 0;
  if (::fseeko(file_.get(), static_cast<off_t>(at), SEEK_SET) < 0) fail(what, folder_);
}

void FittedProbes::add(const std::string& name, FittedProbe probe) {
  Entry entry{std::move(probe), end_};
  if (file_) {
    constexpr const char* kWhat = "write";
    seek(end_, kWhat);
    for (auto& part : entry.probe.matrix.parts) {
      if (std::fwrite(part.data(), 1, part.size(), file_.get()) != part.size()) fail(kWhat, folder_);
      end_ += static_cast<int64_t>(part.size());
      part = {};
    }
  }
  probes_.insert_or_assign(name, std::move(entry));
}

std::optional<FittedProbe> FittedProbes::take(const std::string& name) {
  auto found = probes_.extract(name);
  if (!found) return std::nullopt;
  Entry& entry = found.mapped();
  if (file_) {
    constexpr const char* kWhat = "read";
    seek(entry.begin, kWhat);
    entry.probe.matrix = QuantizedMatrix(entry.probe.matrix.layout);
    for (auto& part : entry.probe.matrix.parts) {
      if (std::fread(part.data(), 1, part.size(), file_.get()) != part.size()) fail(kWhat, folder_);
    }
  }
  return std::move(entry.probe);
}

}  // namespace mxq
