// SQLite's C interface with Error and destructors.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mxq/error.h"

namespace mxq {

/// A store that is locked by another program, or that the system has no space for: this may pass.
class StoreUnavailable : public Error {
 public:
  using Error::Error;
};

enum class Access {
  read,   // changes nothing
  write,  // what is there
  create,
};

class Database {
 public:
  /// Throws Error(io) where it cannot be opened or made.
  Database(const std::filesystem::path& path, Access access);

  /// Statements without parameters and rows.
  void execute(const char* sql);
  /// Of the last INSERT.
  int64_t last_id() const { return sqlite3_last_insert_rowid(handle_.get()); }
  int64_t changes() const { return sqlite3_changes(handle_.get()); }

  /// Throws what `status` says: Error(invalid_file) for damage, StoreUnavailable for what may pass, Error(io) else.
  [[noreturn]] void fail(int status) const;
  sqlite3* handle() const { return handle_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
  };
  std::filesystem::path path_;
  std::unique_ptr<sqlite3, Close> handle_;
};

/// One statement: bound from left to right, then stepped.
class Statement {
 public:
  Statement(const Database& database, const char* sql);

  Statement& bind(int64_t value);
  Statement& bind(double value);
  Statement& bind(std::string_view value);
  /// nullopt: NULL.
  Statement& bind(std::optional<double> value);
  /// Whether there is (another) row.
  bool step();
  /// A statement without rows, to its end.
  void run() {
    while (step()) {
    }
  }

  int64_t integer(int column) const { return sqlite3_column_int64(handle_.get(), column); }
  double number(int column) const { return sqlite3_column_double(handle_.get(), column); }
  std::string text(int column) const;

 private:
  void check(int status) const;
  struct Finalize {
    void operator()(sqlite3_stmt* handle) const { sqlite3_finalize(handle); }
  };
  const Database& database_;
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
  int bound_ = 0;
};

/// Writing from the beginning on (BEGIN IMMEDIATE); undone unless committed.
class Transaction {
 public:
  explicit Transaction(Database& database) : database_(database) { database_.execute("BEGIN IMMEDIATE"); }
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace mxq
