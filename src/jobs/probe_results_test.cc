// Sensitivities from made-up probes, by the formula.
#include "jobs/probe_results.h"

#include <gtest/gtest.h>

#include <cmath>

#include "expect_error.h"
#include "model/model_source.h"

namespace mxq {
namespace {

MatrixErrors matrix(const std::string& name, const std::string& layer) {
  MatrixErrors m;
  m.name = name;
  m.layer = layer;
  m.schemes = {{"b2g64", 20, 4.0}, {"b3g64", 30, 2.0}, {"b3g128", 29, 2.5}, {"b4g64", 40, 1.0}};
  return m;
}

std::vector<std::string> schemes(const MatrixErrors& m) {
  std::vector<std::string> names;
  for (const auto& s : m.schemes) names.push_back(s.scheme);
  return names;
}

TEST(ProbeResults, WhatIsMeasuredOverTheSquaredError) {
  ErrorTable table{{matrix("a", "0"), matrix(std::string(kHead), "")}, {}};
  const auto not_finite = set_sensitivities(table, {{"a", {0.010, 4}}, {std::string(kHead), {0.006, 3}}}, "b3g64");
  EXPECT_TRUE(not_finite.empty());
  EXPECT_DOUBLE_EQ(table.matrices[0].sensitivity, 0.010 / 4);
  EXPECT_DOUBLE_EQ(table.matrices[1].sensitivity, 0.006 / 3);
}

TEST(ProbeResults, NaNTakesTheProbesSchemeAndWorseOnesAway) {
  ErrorTable table{{matrix("a", "0"), matrix("b", "0")}, {}};
  const auto not_finite = set_sensitivities(table, {{"a", {std::nan(""), 4}}, {"b", {0.5, 4}}}, "b3g64");
  EXPECT_EQ(not_finite, std::vector<std::string>{"a"});
  EXPECT_EQ(schemes(table.matrices[0]), std::vector<std::string>{"b4g64"});
  EXPECT_EQ(schemes(table.matrices[1]).size(), 4u);
  EXPECT_DOUBLE_EQ(table.matrices[0].sensitivity, 0.5 / 4);
}

TEST(ProbeResults, SomethingIsLeftToChooseFrom) {
  ErrorTable table{{matrix("a", "0"), matrix("b", "0")}, {}};
  table.matrices[0].schemes = {{"b2g64", 20, 4.0}, {"b3g64", 30, 2.0}};
  set_sensitivities(table, {{"a", {INFINITY, 4}}, {"b", {0.5, 4}}}, "b3g64");
  EXPECT_EQ(schemes(table.matrices[0]), std::vector<std::string>{"b3g64"});
}

TEST(ProbeResults, NothingFiniteIsNoResult) {
  ErrorTable table{{matrix("a", "0"), matrix("b", "0")}, {}};
  expect_error(ErrorCode::not_finite, "b3g64 in place of any of 2 matrices gives NaN or infinity", [&] {
    set_sensitivities(table, {{"a", {INFINITY, 4}}, {"b", {std::nan(""), 4}}}, "b3g64");
  });
}

TEST(ProbeResults, AProbeThatChangesNothingSaysNothing) {
  ErrorTable table{{matrix("on a 3-bit grid", "0"), matrix("b", "0")}, {}};
  table.matrices[0].schemes[1].fnorm = 0;
  const auto not_finite = set_sensitivities(table, {{"on a 3-bit grid", {0, 0}}, {"b", {0.5, 4}}}, "b3g64");
  EXPECT_TRUE(not_finite.empty());
  EXPECT_DOUBLE_EQ(table.matrices[0].sensitivity, 0.5 / 4);
  EXPECT_EQ(table.matrices[0].schemes.size(), 4u);
}

}  // namespace
}  // namespace mxq
