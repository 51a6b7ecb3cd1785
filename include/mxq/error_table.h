// Error tables: for every matrix, the error and the bytes of every scheme. The optimizer's input.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "mxq/output.h"

namespace mxq {

struct SchemeCost {
  std::string scheme;  // "b4g64"; a name only, which allocate() compares
  int64_t bytes = 0;   // stored bytes
  double fnorm = 0;    // ||W - Q(W)||_F, metadata as stored
  int bits = 0;        // of a code; 0: unknown, and what the bytes come to counts
  int group = 0;       // weights of a group; 0: unknown
};

struct MatrixErrors {
  std::string name;            // tensor name without ".weight", or "<layer>.<module>" for the authors' tables
  std::string layer;           // "0", "1", ...; empty where the name has none
  std::string module;          // "self_attn.q_proj"
  int64_t rows = 0, cols = 0;  // 0 in the authors' tables
  int64_t params = 0;
  double norm = 0;      // ||W||_F; 0 where unknown (the authors' tables)
  double kurtosis = 0;  // Fisher's plus 3 (a normal distribution has 3), as the authors' tables
  std::vector<SchemeCost> schemes;
  /// KL divergence of the model's outputs, in nats a token, for each unit of F^2 in this matrix (mxq/sensitivity.h);
  /// negative: unknown.
  double sensitivity = -1;
};

/// What a table's errors and sensitivities were measured with, by the names of the options: plans are for nothing else.
struct TableMethod {
  std::string fit, normalize, axis, metadata;

  bool known() const { return !fit.empty(); }
  friend bool operator==(const TableMethod&, const TableMethod&) = default;
};

struct ErrorTable {
  std::vector<MatrixErrors> matrices;
  TableMethod method{};  // not known of the authors' tables
};
/// True where the sensitivities of all matrices are known.
bool has_sensitivities(const ErrorTable& table);

/// CSV, one row a (matrix, scheme): layer,module,nbit1,gsize1,nbit2,gsize2,fnorm,memmb,params,kurtosis then
/// norm,matrix,rows,cols,scheme,bytes, where all are known sensitivity, and where it is known the method, the same in
/// all rows: fit,normalize,axis,metadata. read_error_table needs only the columns
/// layer, module, nbit1, gsize1, fnorm, memmb and params (the authors' files; memmb = MiB, bytes = memmb * 2^20) and
/// takes them in any order; unknown columns are ignored. Throws Error(invalid_file) naming line and column for a
/// missing column, a cell that is not a number, a negative or non-finite value, a (matrix, scheme) given twice, rows of
/// different methods, or matrices with no scheme at all. `source` names the input in errors.
ErrorTable read_error_table(std::string_view csv, const std::string& source);
/// How write_error_table() begins; the authors' tables, which have fewer columns, do not.
inline constexpr FileKind kErrorTableFile{
    "an error table",
    "layer,module,nbit1,gsize1,nbit2,gsize2,fnorm,memmb,params,kurtosis,norm,matrix,rows,cols,scheme,bytes"};
std::string write_error_table(const ErrorTable& table);

}  // namespace mxq
