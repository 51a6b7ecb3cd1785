// What of an error table is planned, where there is no model to choose from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mxq/error_table.h"
#include "mxq/scheme.h"

namespace mxq {

struct TableSelection {
  /// Only these schemes; empty: all that the table has.
  std::vector<Scheme> schemes;
  /// As MatrixSelection::skip.
  std::vector<std::string> skip;
  /// False: without the matrices outside the layers. True: there must be some.
  std::optional<bool> embeddings;
};

/// The table's rows that are chosen. Throws Error(usage) for a scheme that no matrix has, for an expression that is
/// none or finds nothing, and where no matrix is left.
ErrorTable select_rows(const ErrorTable& table, const TableSelection& selection);

/// Throws Error(invalid_file) naming matrix and scheme where a scheme is none that mxq knows. `source` names the table.
void check_schemes(const ErrorTable& table, const std::string& source);

}  // namespace mxq
