#include "harness/sqlite.h"

#include <fmt/format.h>

#include "mxq/error.h"

namespace mxq {

namespace {

/// What another process may hold the store for, at most: a transaction of ours takes milliseconds.
constexpr int kPatienceMs = 5000;

}  // namespace

Database::Database(const std::filesystem::path& path, Access access) : path_(path) {
  sqlite3* handle = nullptr;
  // For reading too, where the system lets it: who closes a store last takes SQLite's side files away.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | (access == Access::create ? SQLITE_OPEN_CREATE : 0);
  const int status = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  handle_.reset(handle);
  if (status != SQLITE_OK) fail(status);
  sqlite3_busy_timeout(handle, kPatienceMs);
  if (access == Access::read) execute("PRAGMA query_only = ON");
}

void Database::fail(int status) const {
  const int kind = status & 0xff;
  const std::string message = handle_ != nullptr ? sqlite3_errmsg(handle_.get()) : sqlite3_errstr(status);
  const std::string operation = "use store " + path_.string();
  if (kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB) {
    throw Error(ErrorCode::invalid_file, operation, message, "a store that mxq bench made");
  }
  if (kind == SQLITE_BUSY || kind == SQLITE_LOCKED) {
    throw StoreUnavailable(ErrorCode::io, operation,
                           fmt::format("locked by another program for {} s", kPatienceMs / 1000));
  }
  // A full disk is an I/O error where SQLite's shared memory has to grow.
  if (kind == SQLITE_FULL || kind == SQLITE_IOERR) throw StoreUnavailable(ErrorCode::io, operation, message);
  throw Error(ErrorCode::io, operation, message);
}

void Database::execute(const char* sql) {
  const int status = sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr);
  if (status != SQLITE_OK) fail(status);
}

Statement::Statement(const Database& database, const char* sql) : database_(database) {
  sqlite3_stmt* handle = nullptr;
  check(sqlite3_prepare_v2(database.handle(), sql, -1, &handle, nullptr));
  handle_.reset(handle);
}

void Statement::check(int status) const {
  if (status != SQLITE_OK) database_.fail(status);
}

Statement& Statement::bind(int64_t value) {
  check(sqlite3_bind_int64(handle_.get(), ++bound_, value));
  return *this;
}

Statement& Statement::bind(double value) {
  check(sqlite3_bind_double(handle_.get(), ++bound_, value));
  return *this;
}

Statement& Statement::bind(std::string_view value) {
  check(sqlite3_bind_text64(handle_.get(), ++bound_, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind(std::optional<double> value) {
  if (value) return bind(*value);
  check(sqlite3_bind_null(handle_.get(), ++bound_));
  return *this;
}

bool Statement::step() {
  const int status = sqlite3_step(handle_.get());
  if (status == SQLITE_ROW) return true;
  if (status != SQLITE_DONE) database_.fail(status);
  return false;
}

std::string Statement::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(handle_.get(), column));
  return data == nullptr ? std::string()
                         : std::string(data, static_cast<size_t>(sqlite3_column_bytes(handle_.get(), column)));
}

Transaction::~Transaction() {
  if (open_) sqlite3_exec(database_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
  database_.execute("COMMIT");
  open_ = false;
}

}  // namespace mxq
