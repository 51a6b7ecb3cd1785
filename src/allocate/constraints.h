// Pins, ties and the least number of bits, turned into the choices that are left.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "allocate/mckp.h"
#include "mxq/allocate.h"
#include "mxq/error_table.h"

namespace mxq {

/// One scheme that a group may take.
struct GroupOption {
  std::string scheme;
  std::vector<int32_t> places;  // where each member holds it in its schemes
  double cost = 0;              // sums over the members
  int64_t bytes = 0;
};

/// Matrices that take one scheme together (most often a single one).
struct MatrixGroup {
  std::vector<size_t> members;  // places in the table
  bool pinned = false;
  std::vector<GroupOption> options;  // never empty; in the order of the first member's schemes
};

/// The groups in order of their first members. Throws Error(usage) for an empty table, a bad pin or tie, tied
/// matrices without a scheme in common and matrices to which min_bits leaves nothing.
std::vector<MatrixGroup> apply_constraints(const ErrorTable& table, const AllocateOptions& options);

mckp::Problem make_problem(const std::vector<MatrixGroup>& groups, int64_t capacity);

/// a + b; throws Error(unsupported) where int64 cannot hold it.
int64_t add_bytes(int64_t a, int64_t b);

}  // namespace mxq
