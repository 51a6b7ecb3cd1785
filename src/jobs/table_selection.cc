#include "mxq/table_selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/pattern.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "choose from the error table";

void keep_schemes(ErrorTable& table, const std::vector<Scheme>& schemes) {
  std::set<std::string> wanted;
  for (const Scheme& scheme : schemes) wanted.insert(scheme.name());
  std::set<std::string> found;
  for (MatrixErrors& matrix : table.matrices) {
    std::erase_if(matrix.schemes, [&](const SchemeCost& cost) { return !wanted.contains(cost.scheme); });
    for (const SchemeCost& cost : matrix.schemes) found.insert(cost.scheme);
    if (matrix.schemes.empty()) {
      throw Error(ErrorCode::usage, kOperation, fmt::format("matrix '{}' has none of the schemes", matrix.name),
                  "schemes that the table has");
    }
  }
  for (const std::string& name : wanted) {
    if (!found.contains(name)) {
      throw Error(ErrorCode::usage, kOperation, fmt::format("scheme {}", name), "schemes that the table has");
    }
  }
}

}  // namespace

ErrorTable select_rows(const ErrorTable& table, const TableSelection& selection) {
  ErrorTable chosen = table;
  const auto outside = [](const MatrixErrors& matrix) { return matrix.layer.empty(); };
  if (selection.embeddings == true && std::none_of(table.matrices.begin(), table.matrices.end(), outside)) {
    throw Error(ErrorCode::usage, kOperation, "the embedding and the output matrix", "matrices that the table has");
  }
  if (selection.embeddings == false) std::erase_if(chosen.matrices, outside);
  for (const auto& pattern : selection.skip) {
    const Pattern expression("skip", pattern);
    const auto found = std::erase_if(
        chosen.matrices, [&](const MatrixErrors& matrix) { return expression.found_in(matrix.name + ".weight"); });
    if (found == 0) throw Error(ErrorCode::usage, "skip", fmt::format("'{}' finds no matrix", pattern));
  }
  if (chosen.matrices.empty()) throw Error(ErrorCode::usage, kOperation, "no matrix is left to plan");
  if (!selection.schemes.empty()) keep_schemes(chosen, selection.schemes);
  return chosen;
}

void check_schemes(const ErrorTable& table, const std::string& source) {
  for (const MatrixErrors& matrix : table.matrices) {
    for (const SchemeCost& cost : matrix.schemes) {
      try {
        parse_scheme(cost.scheme);
      } catch (const Error& error) {
        throw Error(ErrorCode::invalid_file, "read error table " + source,
                    fmt::format("matrix '{}' has scheme '{}'", matrix.name, cost.scheme), error.supported());
      }
    }
  }
}

}  // namespace mxq
