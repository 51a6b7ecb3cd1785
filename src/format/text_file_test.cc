// Texts: rows of JSON joined, and what is wrong with a row.
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "expect_error.h"
#include "format/strict_json.h"
#include "mxq/files.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

TEST(TextFile, JsonRowsAreJoinedByAnEmptyLine) {
  EXPECT_EQ(
      join_json_rows(
          "{\"text\": \"one\\n\", \"url\": \"x\"}\n{\"meta\": {\"text\": \"no\"}, \"text\": \"zw\\u00f6lf\"}\n", "f"),
      "one\n\n\nzw\u00f6lf");
  EXPECT_EQ(join_json_rows("{\"text\": \"a\"}\r\n\n  \n{\"text\": \"\"}\n{\"text\": \"b\"}", "f"), "a\n\n\n\nb");
  EXPECT_EQ(join_json_rows("", "f"), "");
}

TEST(TextFile, AWrongRowIsNamedByItsLine) {
  const std::string good = "{\"text\": \"a\"}\n\n";
  const auto rows = [&](std::string row) { return [=] { join_json_rows(good + row, "rows.jsonl"); }; };
  expect_error(ErrorCode::invalid_file, "rows.jsonl, line 3: no string \"text\"", rows("{\"content\": \"a\"}"));
  expect_error(ErrorCode::invalid_file, "rows.jsonl, line 3: no string \"text\"", rows("{\"text\": 3}"));
  expect_error(ErrorCode::invalid_file, "rows.jsonl, line 3: no string \"text\"", rows("[{\"text\": \"a\"}]"));
  expect_error(ErrorCode::invalid_file, "rows.jsonl, line 3: no string \"text\"", rows("\"text\""));
  expect_error(ErrorCode::invalid_file, "rows.jsonl, line 3: not valid JSON", rows("{\"text\": \"a\""));
  expect_error(ErrorCode::invalid_file, "rows.jsonl, line 3: not valid JSON", rows("{\"text\": \"\xff\"}"));
}

TEST(TextFile, APipeIsRead) {
  const TemporaryFolder folder;
  const auto pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe) << "one\n"; });
  EXPECT_EQ(read_text(pipe), "one\n");
  writer.join();
}

TEST(TextFile, WrongJsonIsNamedByItsLineAndColumn) {
  const std::string json = "{\"a\": 1,\n\"bc\":x}";
  expect_error(ErrorCode::invalid_file, "at byte 14 (line 2, column 6)",
               [&] { walk_json(json, "read f", [](JsonPath, const JsonEvent&) {}); });
}

TEST(TextFile, AGitLfsPointerIsNamed) {
  const TemporaryFolder folder;
  write_file(folder.path() / "config.json",
             "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, '0') + "\nsize 123456\n");
  expect_error(ErrorCode::invalid_file, "git-lfs pointer", [&] { read_file(folder.path() / "config.json"); });
}

TEST(TextFile, TheNameDecides) {
  const TemporaryFolder folder;
  const std::string row = "{\"text\": \"a\"}\n";
  for (const char* name : {"rows.jsonl", "rows.txt"}) write_file(folder.path() / name, row);
  EXPECT_EQ(read_text(folder.path() / "rows.jsonl"), "a");
  EXPECT_EQ(read_text(folder.path() / "rows.txt"), row);
  write_file(folder.path() / "rows.JSONL", "\xef\xbb\xbf" + row);
  EXPECT_EQ(read_text(folder.path() / "rows.JSONL"), "a");
  write_file(folder.path() / "mark.txt", "\xef\xbb\xbfone");
  EXPECT_EQ(read_text(folder.path() / "mark.txt"), "one");
  expect_error(ErrorCode::not_found, "none.txt", [&] { read_text(folder.path() / "none.txt"); });
}

}  // namespace
}  // namespace mxq
