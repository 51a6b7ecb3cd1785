// Stores to and from CSV, in the form of the authors' combined.csv.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

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

}  // namespace

std::string ResultStore::export_csv(bool all) const {
  const auto found = runs(all);
  std::set<std::string> others;
  for (const StoredRun& run : found) {
    for (const auto& [name, value] : run.metrics) others.insert(name);
  }
  std::string out = fmt::format("{},source,id,version,{}state,attempts,seconds", fmt::join(kColumns, ","),
                                all ? "superseded," : "");
  for (const auto& name : others) out += "," + csv_cell(name);
  out += "\n";
  for (const StoredRun& run : found) {
    for (const std::string column : kColumns) {
      if (column == "model")
        out += csv_cell(run.model);
      else if (column == "algo")
        out += "," + csv_cell(run.method);
      else if (column == "config")
        out += "," + csv_cell(run.config);
      else
        out += ",";
      const auto number =
          std::find_if(kNumbers.begin(), kNumbers.end(), [&](const auto& n) { return n.name == column; });
      if (number == kNumbers.end()) continue;
      if (const double* value = find_metric(run, number->metric)) out += fmt::format("{}", *value / number->unit);
    }
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

int64_t ResultStore::import_csv(const std::string& csv, const std::string& source) {
  CsvReader reader(csv, "import " + source);
  std::vector<std::string> header, row;
  if (!reader.next(header)) reader.fail("", "no rows", "the authors' columns");
  std::map<std::string, size_t> columns;
  for (size_t i = 0; i < header.size(); ++i) columns.emplace(header[i], i);
  for (const char* name : {"model", "algo", "config"}) {
    if (!columns.contains(name)) reader.fail(name, "the column is missing", "model, algo and config");
  }
  Database& database = connection_->database;
  Transaction transaction(database);
  int64_t fresh = 0;
  while (reader.next(row)) {
    if (row.size() != header.size()) {
      reader.fail("", fmt::format("{} cells", row.size()), fmt::format("{}, as the header has", header.size()));
    }
    const auto field = [&](const std::string& name) {
      const auto found = columns.find(name);
      return found == columns.end() ? std::string() : row[found->second];
    };
    ContentHash hash;
    hash.add(source);
    for (const auto& text : row) hash.add("\n" + text);
    const std::string id = hash.hex(), attempt = field("attempt");
    Statement(database,
              "INSERT OR IGNORE INTO runs(id, sequence, model, method, config, source, state) "
              "VALUES(?, (SELECT coalesce(max(sequence), 0) + 1 FROM runs), ?, ?, ?, ?, 'done')")
        .bind(id)
        .bind(field("model"))
        .bind(field("algo") + (attempt.empty() ? "" : " " + attempt))
        .bind(field("config"))
        .bind(source)
        .run();
    if (database.changes() == 0) continue;
    ++fresh;
    for (const NumberColumn& number : kNumbers) {
      const std::string text = field(number.name);
      if (text.empty()) continue;
      const auto value = parse_double(text);
      if (!value) reader.fail(number.name, fmt::format("'{}'", text), "a number");
      Statement(database, "INSERT INTO metrics VALUES(?, ?, ?)")
          .bind(id)
          .bind(std::string_view(number.metric))
          .bind(*value * number.unit)
          .run();
    }
  }
  transaction.commit();
  return fresh;
}

}  // namespace mxq
