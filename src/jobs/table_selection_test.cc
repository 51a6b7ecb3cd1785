#include "mxq/table_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "expect_error.h"
#include "mxq/error.h"

namespace mxq {
namespace {

using testing::ElementsAre;

ErrorTable table() {
  ErrorTable table;
  for (const char* name : {"model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "lm_head"}) {
    MatrixErrors matrix;
    matrix.name = name;
    matrix.layer = std::string_view(name) == "lm_head" ? "" : "0";
    matrix.params = 64;
    matrix.schemes = {{"b2g64", 20, 3}, {"b4g64", 40, 1}, {"nf4g64", 36, 2}};
    table.matrices.push_back(matrix);
  }
  return table;
}

std::vector<std::string> names(const ErrorTable& table) {
  std::vector<std::string> found;
  for (const auto& matrix : table.matrices) found.push_back(matrix.name);
  return found;
}

TEST(TableSelection, NothingAskedForIsAllOfIt) {
  EXPECT_EQ(names(select_rows(table(), {})), names(table()));
  EXPECT_EQ(select_rows(table(), {}).matrices[0].schemes.size(), 3u);
}

TEST(TableSelection, SchemesSkipsAndEmbeddingsChoose) {
  const ErrorTable schemes = select_rows(table(), {parse_schemes("nf4g64,b2g64"), {}, {}});
  for (const auto& matrix : schemes.matrices) {
    ASSERT_EQ(matrix.schemes.size(), 2u);
    EXPECT_EQ(matrix.schemes[0].scheme, "b2g64");
    EXPECT_EQ(matrix.schemes[1].scheme, "nf4g64");
    EXPECT_EQ(matrix.schemes[1].bytes, 36);
  }
  EXPECT_THAT(names(select_rows(table(), {{}, {"q_proj\\.weight$"}, {}})),
              ElementsAre("model.layers.0.mlp.up_proj", "lm_head"));
  EXPECT_THAT(names(select_rows(table(), {{}, {}, false})),
              ElementsAre("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"));
  EXPECT_EQ(names(select_rows(table(), {{}, {}, true})), names(table()));
}

TEST(TableSelection, WhatTheTableLacksIsRefused) {
  expect_error(ErrorCode::usage, "b3g64", [] { select_rows(table(), {parse_schemes("b2g64,b3g64"), {}, {}}); });
  expect_error(ErrorCode::usage, "q_proj' has none of the schemes", [] {
    select_rows(table(), {parse_schemes("b3g64"), {}, {}});
  });
  expect_error(ErrorCode::usage, "'k_proj' finds no matrix", [] { select_rows(table(), {{}, {"k_proj"}, {}}); });
  expect_error(ErrorCode::usage, "regular expression", [] { select_rows(table(), {{}, {"("}, {}}); });
  expect_error(ErrorCode::usage, "no matrix is left", [] { select_rows(table(), {{}, {"."}, {}}); });
  ErrorTable inside = table();
  inside.matrices.pop_back();
  expect_error(ErrorCode::usage, "the embedding", [&] { select_rows(inside, {{}, {}, true}); });
}

TEST(TableSelection, SchemesAreThoseThatMxqKnows) {
  ErrorTable odd = table();
  check_schemes(odd, "t.csv");
  odd.matrices[1].schemes[0].scheme = "b99g1";
  expect_error(ErrorCode::invalid_file, "t.csv: matrix 'model.layers.0.mlp.up_proj' has scheme 'b99g1'",
               [&] { check_schemes(odd, "t.csv"); });
}

}  // namespace
}  // namespace mxq
