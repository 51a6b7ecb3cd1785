// Texts: rows of JSON joined, and what is wrong with a row.
#include <fstream>

#include "expect_error.h"
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

TEST(TextFile, TheNameDecides) {
  const TemporaryFolder folder;
  const std::string row = "{\"text\": \"a\"}\n";
  for (const char* name : {"rows.jsonl", "rows.txt"}) write_file(folder.path() / name, row);
  EXPECT_EQ(read_text(folder.path() / "rows.jsonl"), "a");
  EXPECT_EQ(read_text(folder.path() / "rows.txt"), row);
  expect_error(ErrorCode::not_found, "none.txt", [&] { read_text(folder.path() / "none.txt"); });
}

}  // namespace
}  // namespace mxq
