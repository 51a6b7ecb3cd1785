#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "mxq/error.h"
#include "mxq/error_table.h"
#include "paper_tables.h"

namespace mxq {
namespace {

using testing::HasSubstr;

const std::string kHeader = "layer,module,nbit1,gsize1,nbit2,gsize2,fnorm,memmb,params,kurtosis\n";

std::string failure(const std::string& csv) {
  try {
    read_error_table(csv, "errors.csv");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_file);
    EXPECT_THAT(e.what(), HasSubstr("errors.csv"));
    return e.what();
  }
  return "no error";
}

TEST(ErrorTableCsv, ReadsTheAuthorsColumns) {
  const ErrorTable table = read_error_table(kHeader +
                                                "0,self_attn.q_proj,2,32,8,128,23.5625,5.015625,16777216,70.5\n"
                                                "0,self_attn.q_proj,4,64,8,128,6.25,8.5078125,16777216,70.5\n"
                                                "1,mlp.up_proj,4,64,8,128,1,2,4,3\n",
                                            "t");
  ASSERT_EQ(table.matrices.size(), 2u);
  const MatrixErrors& q = table.matrices[0];
  EXPECT_EQ(q.name, "0.self_attn.q_proj");
  EXPECT_EQ(q.layer, "0");
  EXPECT_EQ(q.module, "self_attn.q_proj");
  EXPECT_EQ(q.params, 16777216);
  EXPECT_EQ(q.kurtosis, 70.5);
  EXPECT_EQ(q.norm, 0);
  EXPECT_EQ(q.rows, 0);
  ASSERT_EQ(q.schemes.size(), 2u);
  EXPECT_EQ(q.schemes[0].scheme, "b2g32");
  EXPECT_EQ(q.schemes[0].bytes, 5259264);  // 5.015625 * 2^20
  EXPECT_EQ(q.schemes[0].fnorm, 23.5625);
  EXPECT_EQ(q.schemes[1].scheme, "b4g64");
}

TEST(ErrorTableCsv, ColumnsInAnyOrderUnknownOnesQuotesAndCrlf) {
  const ErrorTable table = read_error_table(
      "\xEF\xBB\xBFmemmb,extra,\"params\",fnorm,gsize1,nbit1,module,layer\r\n"
      "1,\"a,\"\"b\"\"\n\",8,2.5,32,3.0,\"up,proj\",\"x\"\r\n"
      "\r\n"
      "2,,8,1.5,32,4,\"up,proj\",x",
      "t");
  ASSERT_EQ(table.matrices.size(), 1u);
  EXPECT_EQ(table.matrices[0].name, "x.up,proj");
  ASSERT_EQ(table.matrices[0].schemes.size(), 2u);
  EXPECT_EQ(table.matrices[0].schemes[0].scheme, "b3g32");
  EXPECT_EQ(table.matrices[0].schemes[0].bytes, 1 << 20);
  EXPECT_EQ(table.matrices[0].schemes[1].fnorm, 1.5);
}

TEST(ErrorTableCsv, RoundTripIsExact) {
  const uint64_t seed = 42;
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937_64 random(seed);
  const auto number = [&] { return std::exp(static_cast<double>(random() % 2000) / 10 - 100) * 1.1; };
  ErrorTable table;
  for (int i = 0; i < 50; ++i) {
    MatrixErrors m;
    m.layer = i % 3 ? std::to_string(i) : "";
    m.module = i % 7 ? "mlp.up_proj" : "odd,\"name\"\nin \r two";
    m.name = "model.layers." + std::to_string(i) + "." + m.module;
    m.rows = static_cast<int64_t>(random() % 10000);
    m.cols = static_cast<int64_t>(random() % 10000);
    m.params = m.rows * m.cols;
    m.norm = number();
    m.kurtosis = number();
    m.sensitivity = number();
    for (const char* s : {"b2g32", "b4g64", "nf4g64", "kmeans"}) {
      m.schemes.push_back({s, static_cast<int64_t>(random() >> 14), number()});
    }
    table.matrices.push_back(m);
  }
  const std::string csv = write_error_table(table);
  const ErrorTable again = read_error_table(csv, "t");
  ASSERT_EQ(again.matrices.size(), table.matrices.size());
  for (size_t i = 0; i < table.matrices.size(); ++i) {
    const MatrixErrors &a = table.matrices[i], &b = again.matrices[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.layer, b.layer);
    EXPECT_EQ(a.module, b.module);
    EXPECT_EQ(a.rows, b.rows);
    EXPECT_EQ(a.cols, b.cols);
    EXPECT_EQ(a.params, b.params);
    EXPECT_EQ(a.norm, b.norm);
    EXPECT_EQ(a.kurtosis, b.kurtosis);
    EXPECT_EQ(a.sensitivity, b.sensitivity);
    ASSERT_EQ(a.schemes.size(), b.schemes.size());
    for (size_t s = 0; s < a.schemes.size(); ++s) {
      EXPECT_EQ(a.schemes[s].scheme, b.schemes[s].scheme);
      EXPECT_EQ(a.schemes[s].bytes, b.schemes[s].bytes);
      EXPECT_EQ(a.schemes[s].fnorm, b.schemes[s].fnorm);
    }
  }
  EXPECT_EQ(write_error_table(again), csv);
}

TEST(ErrorTableCsv, WritesTheDocumentedColumns) {
  ErrorTable table;
  table.matrices.push_back({"m.0.q", "0", "q", 2, 4, 8, 1.5, 3, {{"b4g64", 1 << 19, 0.1}, {"nf4", 5, 0.25}}});
  EXPECT_EQ(write_error_table(table),
            "layer,module,nbit1,gsize1,nbit2,gsize2,fnorm,memmb,params,kurtosis,norm,matrix,rows,cols,scheme,bytes\n"
            "0,q,4,64,8,128,0.1,0.5,8,3,1.5,m.0.q,2,4,b4g64,524288\n"
            "0,q,,,,,0.25,4.76837158203125e-06,8,3,1.5,m.0.q,2,4,nf4,5\n");
  table.matrices[0].schemes.pop_back();
  table.matrices[0].sensitivity = 0.125;
  EXPECT_EQ(write_error_table(table),
            "layer,module,nbit1,gsize1,nbit2,gsize2,fnorm,memmb,params,kurtosis,norm,matrix,rows,cols,scheme,bytes,"
            "sensitivity\n0,q,4,64,8,128,0.1,0.5,8,3,1.5,m.0.q,2,4,b4g64,524288,0.125\n");
  table.method = {"gptq", "rotation", "1", "q8"};
  const std::string csv = write_error_table(table);
  EXPECT_EQ(csv,
            "layer,module,nbit1,gsize1,nbit2,gsize2,fnorm,memmb,params,kurtosis,norm,matrix,rows,cols,scheme,bytes,"
            "sensitivity,fit,normalize,axis,metadata\n"
            "0,q,4,64,8,128,0.1,0.5,8,3,1.5,m.0.q,2,4,b4g64,524288,0.125,gptq,rotation,1,q8\n");
  EXPECT_EQ(read_error_table(csv, "t").method, table.method);
  // Where one is unknown the column is left out.
  table.matrices.push_back(table.matrices[0]);
  table.matrices[1].sensitivity = -1;
  EXPECT_FALSE(write_error_table(table).find("sensitivity") != std::string::npos);
}

TEST(ErrorTableCsv, BadInputNamesLineAndColumn) {
  const std::string row = "0,q,2,32,8,128,1,2,3,4\n";
  const auto with = [&](const std::string& bad) { return kHeader + row + bad; };
  const std::vector<std::tuple<std::string, std::string, std::string>> cases{
      {"", "line 1", "empty"},
      {"\n\n", "line", "empty"},
      {kHeader, "line 1", "no matrix has a scheme"},
      {"layer,module,nbit1,gsize1,fnorm,params\n0,q,2,32,1,3\n", "line 1, column 'memmb'", "missing"},
      {"layer,layer,module,nbit1,gsize1,fnorm,memmb,params\n", "line 1, column 'layer'", "twice"},
      {"layer;module;nbit1;gsize1;fnorm;memmb;params\n0;q;2;32;1,5;2;3\n", "line 1", "separated by semicolons"},
      {with("1,q,2,32,8,128,abc,2,3,4\n"), "line 3, column 'fnorm'", "'abc' is not a finite number"},
      {with("1,q,2,32,8,128,,2,3,4\n"), "line 3, column 'fnorm'", "'' is not"},
      {with("1,q,2,32,8,128,nan,2,3,4\n"), "line 3, column 'fnorm'", "'nan' is not a finite"},
      {with("1,q,2,32,8,128,inf,2,3,4\n"), "line 3, column 'fnorm'", "'inf' is not a finite"},
      {with("1,q,2,32,8,128,1e999,2,3,4\n"), "line 3, column 'fnorm'", "1e999"},
      {with("1,q,2,32,8,128,-1,2,3,4\n"), "line 3, column 'fnorm'", "negative"},
      {with("1,q,2,32,8,128,1,-2,3,4\n"), "line 3, column 'memmb'", "negative"},
      {with("1,q,2,32,8,128,1,1e200,3,4\n"), "line 3, column 'memmb'", "too large"},
      {with("1,q,2,32,8,128,1,2,3.5,4\n"), "line 3, column 'params'", "whole number"},
      {with("1,q,2,32,8,128,1,2,1e30,4\n"), "line 3, column 'params'", "whole number"},
      {with("1,q,4294967298,32,8,128,1,2,3,4\n"), "line 3, column 'nbit1'", "4294967298 is too large"},
      {with("1,q,2,4294967298,8,128,1,2,3,4\n"), "line 3, column 'gsize1'", "4294967298 is too large"},
      {with("1,q,2.5,32,8,128,1,2,3,4\n"), "line 3, column 'nbit1'", "whole number"},
      {with("1,q,2,x,8,128,1,2,3,4\n"), "line 3, column 'gsize1'", "'x'"},
      {with("1,q,2,32,8,128,1,2,3,z\n"), "line 3, column 'kurtosis'", "'z'"},
      {with(row), "line 3, column 'nbit1'", "'0.q' has scheme 'b2g32' twice"},
      {with("0,q,3,32,8,128,1,2,4,4\n"), "line 3, column 'params'", "has 3 in rows before, and '4'"},
      {with("1,q,2,32\n"), "line 3", "4 cells; expected 10"},
      {with(",,2,32,8,128,1,2,3,4\n"), "line 3, column 'module'", "no matrix"},
      {with("1,\"q,2,32\n"), "line 3", "does not end"},
      {with("1,\"q\"x,2,32,8,128,1,2,3,4\n"), "line 3", "after a quoted cell"},
      {with("\n\n1,q,2,32,8,128,bad,2,3,4\n"), "line 5, column 'fnorm'", "bad"},
      {"layer,module,nbit1,gsize1,fnorm,memmb,params,scheme\n0,q,,,1,2,3,s\n0,q,,,1,2,3,s\n", "line 3, column 'scheme'",
       "twice"},
      {"layer,module,nbit1,gsize1,fnorm,memmb,params,scheme\n0,q,,,1,2,3,\n", "line 2, column 'nbit1'", "''"},
      {"layer,module,nbit1,gsize1,fnorm,memmb,params,rows,cols\n0,q,2,32,1,2,8,9007199254740992,9007199254740992\n",
       "line 2, column 'rows'", "9007199254740992 x 9007199254740992 is not 8 weights"},
      {"layer,module,nbit1,gsize1,fnorm,memmb,params,fit\n0,q,2,32,1,2,3,mse\n0,q,3,32,1,2,3,rtn\n",
       "line 3, column 'fit'", "another method"},
      {"layer,module,nbit1,gsize1,fnorm,memmb,params,bytes\n0,q,2,32,1,2,3,-4\n", "line 2, column 'bytes'", "negative"},
      {"layer,module,nbit1,gsize1,fnorm,memmb,params,scheme\n0,q,2,32,1,2,3,b4g32\n", "line 2, column 'nbit1'",
       "2 beside the scheme b4g32"},
      {"layer,module,nbit1,gsize1,fnorm,memmb,params,scheme\n0,q,,64,1,2,3,b4g32\n", "line 2, column 'gsize1'",
       "64 beside the scheme b4g32"},
      {"layer,module,nbit1,gsize1,fnorm,memmb,params,sensitivity\n0,q,2,32,1,2,3,0.5\n0,q,3,32,1,2,3,\n",
       "line 3, column 'sensitivity'", "has 0.5 in rows before, and ''"},
      {"layer,module,nbit1,gsize1,fnorm,memmb,params,sensitivity\n0,q,2,32,1,2,3,\n0,q,3,32,1,2,3,0.5\n",
       "line 3, column 'sensitivity'", "has none in rows before, and '0.5'"},
      {"layer,module,nbit1,gsize1,fnorm,memmb,params,norm\n0,q,2,32,1,2,3,4\n0,q,3,32,1,2,3,5\n",
       "line 3, column 'norm'", "has 4 in rows before, and '5'"},
  };
  for (const auto& [csv, where, what] : cases) {
    SCOPED_TRACE(csv);
    const std::string text = failure(csv);
    EXPECT_THAT(text, HasSubstr(where));
    EXPECT_THAT(text, HasSubstr(what));
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
}

TEST(ErrorTableCsv, SumsStayWholeNumbers) {
  // 32 matrices of 2^53 bytes and weights are the limit of 2^58.
  std::string bytes = kHeader, weights = kHeader;
  for (int i = 0; i < 31; ++i) {
    bytes += fmt::format("{},q,2,32,8,128,1,8589934592,3,4\n", i);
    weights += fmt::format("{},q,2,32,8,128,1,2,9007199254740992,4\n", i);
  }
  EXPECT_NO_THROW(read_error_table(bytes, "t"));
  EXPECT_NO_THROW(read_error_table(weights, "t"));
  EXPECT_THAT(failure(bytes + "31,q,2,32,8,128,1,8589934592,3,4\n32,q,2,32,8,128,1,1,3,4\n"),
              HasSubstr("line 34, column 'memmb': the sum of all rows is too large; expected at most 2^58"));
  EXPECT_THAT(failure(weights + "31,q,2,32,8,128,1,2,9007199254740992,4\n32,q,2,32,8,128,1,2,1,4\n"),
              HasSubstr("line 34, column 'params': the sum of all rows is too large; expected at most 2^58"));
}

TEST(ErrorTableCsv, DamagedInputNeverDoesWorseThanAnError) {
  const uint64_t seed = 99;
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937_64 random(seed);
  const std::string csv = write_error_table(
      read_error_table(kHeader + "0,q,2,32,8,128,1,2,3,4\n0,q,3,32,8,128,1,3,3,4\n1,\"k,\",2,32,8,128,1,2,3,4\n", "t"));
  const std::string letters = ",\"\n\r0x-.e";
  for (int round = 0; round < 5000; ++round) {
    std::string damaged = csv;
    for (uint64_t n = 1 + random() % 4; n > 0; --n) {
      const size_t at = random() % damaged.size();
      if (random() % 2)
        damaged[at] = letters[random() % letters.size()];
      else
        damaged.erase(at, 1 + random() % 3);
    }
    try {
      const ErrorTable table = read_error_table(damaged, "t");
      EXPECT_FALSE(table.matrices.empty());
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_file);
    }
  }
}

TEST(ErrorTableCsv, AuthorsTablesSurviveARoundTrip) {
  for (const char* file : {"fnorm-Llama-2-7b-hf.csv", "fnorm-Meta-Llama-3-8B.csv"}) {
    MXQ_NEEDS_SHARED_DATA(std::string("mxq-paper/") + file);
    const ErrorTable table = paper_table(file);
    EXPECT_EQ(write_error_table(read_error_table(write_error_table(table), "t")), write_error_table(table));
  }
}

}  // namespace
}  // namespace mxq
