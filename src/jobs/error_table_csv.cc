// Error tables as CSV.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/csv.h"
#include "mxq/error.h"
#include "mxq/error_table.h"
#include "mxq/scheme.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr double kMiB = 0x1p20;
// Bytes and counts stay where a double is exact to the unit.
constexpr double kLargestCount = 0x1p53;
// Of sums, so that eight times as much is still a whole number of 64 bits.
constexpr int64_t kLargestSum = int64_t{1} << 58;

enum Column {
  kLayer,
  kModule,
  kBits,
  kGroup,
  kFnorm,
  kMemmb,
  kParams,
  kKurtosis,
  kNorm,
  kMatrix,
  kRows,
  kCols,
  kScheme,
  kBytes,
  kSensitivity,
  kFit,
  kNormalize,
  kAxis,
  kMetadata,
  kColumns
};
constexpr std::array<std::string_view, kColumns> kNames{
    "layer", "module", "nbit1",  "gsize1", "fnorm",       "memmb", "params",    "kurtosis", "norm",    "matrix",
    "rows",  "cols",   "scheme", "bytes",  "sensitivity", "fit",   "normalize", "axis",     "metadata"};
constexpr int kRequired = kParams + 1;

/// The cells of one row by column; absent columns read as empty.
class Row {
 public:
  Row(const CsvReader& reader, const std::array<int, kColumns>& places, const std::vector<std::string>& cells)
      : reader_(reader), places_(places), cells_(cells) {}

  const std::string& text(Column column) const {
    static const std::string empty;
    return places_[column] < 0 ? empty : cells_[static_cast<size_t>(places_[column])];
  }

  double number(Column column) const {
    const auto value = parse_double(text(column));
    if (!value) fail(column, fmt::format("'{}' is not a finite number", text(column)));
    if (*value < 0) fail(column, fmt::format("{} is negative", text(column)), "numbers of at least 0");
    return *value;
  }

  double number_or_zero(Column column) const { return text(column).empty() ? 0 : number(column); }

  /// A whole number; written as "32" or "32.0".
  int64_t count(Column column) const {
    const double value = number(column);
    if (value != std::floor(value) || value > kLargestCount) {
      fail(column, fmt::format("'{}' is not a whole number", text(column)), "whole numbers of at most 2^53");
    }
    return static_cast<int64_t>(value);
  }

  int small_count(Column column) const {
    const int64_t value = count(column);
    constexpr int64_t most = std::numeric_limits<int>::max();
    if (value > most) fail(column, fmt::format("{} is too large", value), fmt::format("at most {}", most));
    return static_cast<int>(value);
  }

  int64_t count_or_zero(Column column) const { return text(column).empty() ? 0 : count(column); }

  [[noreturn]] void fail(Column column, const std::string& given, const std::string& allowed = {}) const {
    reader_.fail(kNames[column], given, allowed);
  }

 private:
  const CsvReader& reader_;
  const std::array<int, kColumns>& places_;
  const std::vector<std::string>& cells_;
};

std::array<int, kColumns> find_columns(const CsvReader& reader, const std::vector<std::string>& header) {
  std::array<int, kColumns> places;
  places.fill(-1);
  for (size_t i = 0; i < header.size(); ++i) {
    for (int c = 0; c < kColumns; ++c) {
      if (header[i] != kNames[c]) continue;
      if (places[c] >= 0) reader.fail(kNames[c], "the column is there twice");
      places[c] = static_cast<int>(i);
    }
  }
  for (int c = 0; c < kRequired; ++c) {
    if (places[c] < 0) {
      reader.fail(kNames[c], "the column is missing", "layer, module, nbit1, gsize1, fnorm, memmb and params");
    }
  }
  return places;
}

std::string matrix_name(const Row& row) {
  if (!row.text(kMatrix).empty()) return row.text(kMatrix);
  if (row.text(kLayer).empty()) return row.text(kModule);
  return row.text(kLayer) + "." + row.text(kModule);
}

/// Of any family; nullopt for a name that mxq does not know.
std::optional<Scheme> known_scheme(const std::string& name) {
  try {
    return parse_scheme(name);
  } catch (const Error&) {
    return std::nullopt;
  }
}

/// The scheme that the paper's columns tell of.
bool is_papers(const Scheme& scheme) {
  return scheme.family == scheme_families().front();
}

/// Name, bits and group of a row's scheme.
SchemeCost scheme_of(const Row& row) {
  SchemeCost cost;
  cost.scheme = row.text(kScheme);
  if (cost.scheme.empty()) {
    cost.bits = row.small_count(kBits);
    cost.group = row.small_count(kGroup);
    cost.scheme = fmt::format("b{}g{}", cost.bits, cost.group);
    return cost;
  }
  const auto scheme = known_scheme(cost.scheme);
  if (!scheme) return cost;
  cost.bits = scheme->bits;
  cost.group = scheme->group;
  const auto check = [&](Column column, int64_t part) {
    if (row.text(column).empty() || row.count(column) == part) return;
    row.fail(column, fmt::format("{} beside the scheme {}", row.text(column), cost.scheme), fmt::format("{}", part));
  };
  if (is_papers(*scheme)) {
    check(kBits, cost.bits);
    check(kGroup, cost.group);
  }
  return cost;
}

int64_t bytes_of(const Row& row) {
  const double bytes = std::round(row.number(kMemmb) * kMiB);
  if (bytes > kLargestCount) row.fail(kMemmb, fmt::format("{} MiB is too large", row.text(kMemmb)), "at most 2^33");
  return row.text(kBytes).empty() ? static_cast<int64_t>(bytes) : row.count(kBytes);
}

/// The matrix as the row describes it, without its schemes.
MatrixErrors matrix_of(const Row& row, const std::string& name) {
  MatrixErrors matrix;
  matrix.name = name;
  matrix.layer = row.text(kLayer);
  matrix.module = row.text(kModule);
  matrix.rows = row.count_or_zero(kRows);
  matrix.cols = row.count_or_zero(kCols);
  matrix.params = row.count(kParams);
  // By division: the product may overflow.
  const bool shaped = matrix.rows > 0 && matrix.cols > 0;
  if (shaped && (matrix.params / matrix.rows != matrix.cols || matrix.params % matrix.rows != 0)) {
    row.fail(kRows, fmt::format("{} x {} is not {} weights", matrix.rows, matrix.cols, matrix.params),
             "params = rows * cols");
  }
  matrix.norm = row.number_or_zero(kNorm);
  matrix.kurtosis = row.number_or_zero(kKurtosis);
  if (!row.text(kSensitivity).empty()) matrix.sensitivity = row.number(kSensitivity);
  return matrix;
}

/// All rows of a matrix tell the same of it.
void check_same(const Row& row, const MatrixErrors& known, const MatrixErrors& described) {
  const auto same = [&](Column column, auto before, auto now) {
    if (before == now) return;
    row.fail(column, fmt::format("matrix '{}' has {} in rows before, and '{}'", known.name, before, row.text(column)),
             "one number in all rows of a matrix");
  };
  same(kParams, known.params, described.params);
  same(kRows, known.rows, described.rows);
  same(kCols, known.cols, described.cols);
  same(kNorm, known.norm, described.norm);
  if (known.sensitivity < 0 && described.sensitivity >= 0) {
    row.fail(kSensitivity,
             fmt::format("matrix '{}' has none in rows before, and '{}'", known.name, row.text(kSensitivity)),
             "one number in all rows of a matrix");
  }
  same(kSensitivity, known.sensitivity, described.sensitivity);
}

}  // namespace

ErrorTable read_error_table(std::string_view csv, const std::string& source) {
  CsvReader reader(csv, "read error table " + source);
  std::vector<std::string> header, cells;
  if (!reader.next(header)) reader.fail("", "the file is empty", "a header and a row for every (matrix, scheme)");
  const auto places = find_columns(reader, header);
  ErrorTable table;
  std::unordered_map<std::string, size_t> matrices;
  int64_t bytes = 0, weights = 0;  // of all rows; of all matrices
  const auto add = [](const Row& row, Column column, int64_t& sum, int64_t count) {
    if (count > kLargestSum - sum) row.fail(column, "the sum of all rows is too large", "at most 2^58");
    sum += count;
  };
  while (reader.next(cells)) {
    if (cells.size() != header.size()) {
      reader.fail("", fmt::format("{} cells", cells.size()), fmt::format("{}, as the header has", header.size()));
    }
    const Row row(reader, places, cells);
    const std::string name = matrix_name(row);
    if (name.empty()) row.fail(kModule, "the row names no matrix", "a module or a matrix");
    SchemeCost scheme = scheme_of(row);
    scheme.bytes = bytes_of(row);
    add(row, kMemmb, bytes, scheme.bytes);
    scheme.fnorm = row.number(kFnorm);
    MatrixErrors described = matrix_of(row, name);
    TableMethod method{row.text(kFit), row.text(kNormalize), row.text(kAxis), row.text(kMetadata)};
    if (table.matrices.empty())
      table.method = std::move(method);
    else if (!(method == table.method))
      row.fail(kFit, "another method than in the rows before", "one for all rows");
    const auto [at, fresh] = matrices.try_emplace(name, table.matrices.size());
    if (fresh) {
      add(row, kParams, weights, described.params);
      table.matrices.push_back(std::move(described));
    }
    MatrixErrors& matrix = table.matrices[at->second];
    if (!fresh) check_same(row, matrix, described);
    for (const SchemeCost& s : matrix.schemes) {
      if (s.scheme == scheme.scheme) {
        reader.fail(fresh || places[kScheme] >= 0 ? kNames[kScheme] : kNames[kBits],
                    fmt::format("matrix '{}' has scheme '{}' twice", name, scheme.scheme));
      }
    }
    matrix.schemes.push_back(std::move(scheme));
  }
  if (table.matrices.empty()) reader.fail("", "no matrix has a scheme", "a row for every (matrix, scheme)");
  return table;
}

std::string write_error_table(const ErrorTable& table) {
  const bool sensitivities = has_sensitivities(table);
  const auto& [fit, normalize, axis, metadata] = table.method;
  const std::string method = table.method.known() ? fmt::format(",{},{},{},{}", csv_cell(fit), csv_cell(normalize),
                                                                csv_cell(axis), csv_cell(metadata))
                                                  : "";
  std::string csv(kErrorTableFile.beginning);
  csv += sensitivities ? ",sensitivity" : "";
  csv += table.method.known() ? ",fit,normalize,axis,metadata\n" : "\n";
  for (const MatrixErrors& m : table.matrices) {
    for (const SchemeCost& s : m.schemes) {
      // Names that are not the paper's have no numbers to put into its four columns.
      const auto scheme = known_scheme(s.scheme);
      const bool papers = scheme && is_papers(*scheme);
      csv += fmt::format("{},{},{},{},{},{},{},{},", csv_cell(m.layer), csv_cell(m.module),
                         papers ? fmt::format("{}", scheme->bits) : "", papers ? fmt::format("{}", scheme->group) : "",
                         papers ? "8" : "", papers ? "128" : "", s.fnorm, static_cast<double>(s.bytes) / kMiB);
      csv += fmt::format("{},{},{},{},{},{},{},{}", m.params, m.kurtosis, m.norm, csv_cell(m.name), m.rows, m.cols,
                         csv_cell(s.scheme), s.bytes);
      if (sensitivities) csv += fmt::format(",{}", m.sensitivity);
      csv += method + "\n";
    }
  }
  return csv;
}

}  // namespace mxq
