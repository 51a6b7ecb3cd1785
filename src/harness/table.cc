// Stores to and from CSV, in the form of the authors' combined.csv.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <set>
#include <string_view>

#include "base/content_hash.h"
#include "base/csv.h"
#include "harness/connection.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

/// Their columns of numbers: what a run calls it, and how many of its units are one of theirs.
struct NumberColumn {
  const char* name;
  const char* metric;
  double unit;
};
constexpr std::array kNumbers{
    NumberColumn{"bpp", "bits_per_parameter", 1},
    NumberColumn{"ppl_wikitext", "perplexity.wikitext", 1},
    NumberColumn{"ppl_c4", "perplexity.c4", 1},
    NumberColumn{"load_mem_allot", "weight_bytes", kGiB},
    NumberColumn{"model_storage_size", "file_bytes", kGiB},
    NumberColumn{"quant_duration", "quantize_seconds", 1},
    NumberColumn{"param_count", "parameters", 1},
};
/// And the order of all.
constexpr std::array kColumns{"model",
                              "algo",
                              "config",
                              "bpp",
                              "attempt",
                              "ppl_wikitext",
                              "ppl_c4",
                              "load_mem_allot",
                              "model_storage_size",
                              "quant_duration",
                              "param_count"};

/// "wikitext" finds "perplexity.wikitext2" too.
const double* find_metric(const StoredRun& run, const std::string& name) {
  const auto found = run.metrics.lower_bound(name);
  if (found == run.metrics.end()) return nullptr;
  const bool prefix = name.starts_with("perplexity.") && found->first.starts_with(name);
  return found->first == name || prefix ? &found->second : nullptr;
}

/// Of an imported run the method ends with the attempt, which has a column of its own.
std::string algo_of(const StoredRun& run) {
  const std::string end = run.attempt.empty() ? "" : " " + run.attempt;
  return run.method.ends_with(end) ? run.method.substr(0, run.method.size() - end.size()) : run.method;
}

std::string cell_of(const StoredRun& run, std::string_view column) {
  if (column == "model") return csv_cell(run.model);
  if (column == "algo") return csv_cell(algo_of(run));
  if (column == "config") return csv_cell(run.config);
  if (column == "attempt") return csv_cell(run.attempt);
  const auto number = std::find_if(kNumbers.begin(), kNumbers.end(), [&](const auto& n) { return n.name == column; });
  const double* value = number == kNumbers.end() ? nullptr : find_metric(run, number->metric);
  return value != nullptr ? fmt::format("{}", *value / number->unit) : std::string();
}

/// The columns of an export that say what a run is; all further ones are metrics.
const std::set<std::string, std::less<>>& run_columns() {
  static const std::set<std::string, std::less<>> names = [] {
    std::set<std::string, std::less<>> all(kColumns.begin(), kColumns.end());
    for (const char* name : {"source", "id", "version", "superseded", "state", "attempts", "seconds"}) all.insert(name);
    return all;
  }();
  return names;
}

}  // namespace

std::string ResultStore::export_csv(bool all) const {
  const auto found = runs(all);
  std::set<std::string> others;
  for (const StoredRun& run : found) {
    for (const auto& [name, value] : run.metrics) others.insert(name);
  }
  std::string out =
      fmt::format("{},source,id,version,{}state,attempts,seconds", fmt::join(kColumns, ","), all ? "superseded," : "");
  for (const auto& name : others) out += "," + csv_cell(name);
  out += "\n";
  for (const StoredRun& run : found) {
    std::vector<std::string> cells;
    for (const char* column : kColumns) cells.push_back(cell_of(run, column));
    out += fmt::format("{}", fmt::join(cells, ","));
    out += fmt::format(",{},{},{},", csv_cell(run.source), run.id, csv_cell(run.version));
    if (all) out += run.superseded ? "1," : "0,";
    out += fmt::format("{},{},", run_state_name(run.state), run.attempts);
    if (run.finished > run.started) out += fmt::format("{:.3f}", run.finished - run.started);
    for (const auto& name : others) {
      out += ",";
      if (const auto metric = run.metrics.find(name); metric != run.metrics.end())
        out += fmt::format("{}", metric->second);
    }
    out += "\n";
  }
  return out;
}

std::vector<StoredRun> read_results(const std::string& csv, const std::string& source) {
  CsvReader reader(csv, "import " + source);
  std::vector<std::string> header, row;
  if (!reader.next(header)) reader.fail("", "no rows", "the authors' columns");
  std::map<std::string, size_t> columns;
  for (size_t i = 0; i < header.size(); ++i) columns.emplace(header[i], i);
  for (const char* name : {"model", "algo", "config"}) {
    if (!columns.contains(name)) reader.fail(name, "the column is missing", "model, algo and config");
  }
  const bool exported = columns.contains("state");  // by mxq
  std::vector<StoredRun> results;
  while (reader.next(row)) {
    if (row.size() != header.size()) {
      reader.fail("", fmt::format("{} cells", row.size()), fmt::format("{}, as the header has", header.size()));
    }
    const auto field = [&](const std::string& name) {
      const auto found = columns.find(name);
      return found == columns.end() ? std::string() : row[found->second];
    };
    const auto number = [&](const std::string& name) -> std::optional<double> {
      const std::string text = field(name);
      if (text.empty()) return std::nullopt;
      const auto value = parse_double(text);
      if (!value) reader.fail(name, fmt::format("'{}'", text), "a number");
      return value;
    };
    StoredRun& run = results.emplace_back();
    ContentHash hash;
    hash.add(source);
    for (const auto& text : row) hash.add("\n" + text);
    run.id = hash.hex();
    run.attempt = field("attempt");
    run.model = field("model");
    run.method = field("algo") + (run.attempt.empty() ? "" : " " + run.attempt);
    run.config = field("config");
    run.source = source;
    run.version = field("version");
    run.state = RunState::done;
    if (exported) {
      const auto state = find_run_state(field("state"));
      if (!state) reader.fail("state", fmt::format("'{}'", field("state")), "queued, running, done or failed");
      run.state = *state;
    }
    if (const std::string attempts = field("attempts"); !attempts.empty()) {
      const auto count = parse_int(attempts);
      if (!count || *count < 0) reader.fail("attempts", fmt::format("'{}'", attempts), "a whole number");
      run.attempts = *count;
    }
    run.finished = number("seconds").value_or(0);  // when it began is not in the table
    const auto keep = [&](const std::string& column, const std::string& metric, double unit) {
      if (const auto value = number(column)) run.metrics[metric] = *value * unit;
    };
    if (exported) {
      // Metrics have columns of their own names there, of which the authors' repeat some.
      for (const auto& name : header) {
        if (!run_columns().contains(name)) keep(name, name, 1);
      }
    } else {
      for (const NumberColumn& column : kNumbers) keep(column.name, column.metric, column.unit);
    }
  }
  return results;
}

int64_t ResultStore::add(const std::vector<StoredRun>& results) {
  Database& database = connection_->database;
  Transaction transaction(database);
  int64_t fresh = 0;
  for (const StoredRun& run : results) {
    Statement(database,
              "INSERT OR IGNORE INTO runs(id, sequence, model, method, config, source, state, attempt, version, "
              "attempts, started, finished) "
              "VALUES(?, (SELECT coalesce(max(sequence), 0) + 1 FROM runs), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(run.id)
        .bind(run.model)
        .bind(run.method)
        .bind(run.config)
        .bind(run.source)
        .bind(std::string(run_state_name(run.state)))
        .bind(run.attempt)
        .bind(run.version)
        .bind(run.attempts)
        .bind(run.started)
        .bind(run.finished)
        .run();
    if (database.changes() == 0) continue;
    ++fresh;
    for (const auto& [name, value] : run.metrics) {
      Statement(database, "INSERT INTO metrics VALUES(?, ?, ?)").bind(run.id).bind(name).bind(value).run();
    }
  }
  transaction.commit();
  return fresh;
}

}  // namespace mxq
