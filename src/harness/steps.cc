#include "harness/steps.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/content_hash.h"
#include "mxq/error.h"

namespace mxq {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string last_line(const std::string& text) {
  const auto end = text.find_last_not_of("\n ");
  if (end == std::string::npos) return {};
  const auto begin = text.rfind('\n', end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1,
                     end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

/// What programs print may be anything; what a store holds is UTF-8.
std::string as_utf8(const std::string& text) {
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
}

void replace(std::string& text, const std::string& name, const std::string& value) {
  for (size_t at = 0; (at = text.find(name, at)) != std::string::npos; at += value.size()) {
    text.replace(at, name.size(), value);
  }
}

}  // namespace

Steps::Steps(const ExperimentRun& run, const WorkOptions& options, const fs::path& scratch, const fs::path& shared,
             RunResult& result)
    : run_(run),
      options_(options),
      scratch_(scratch),
      shared_(shared),
      checkpoint_(run.original ? run.model_path : scratch / "out"),
      result_(result) {}

void Steps::go() {
  run_.original ? inspect() : quantize();
  for (const auto& scoring : run_.scorings) score(scoring);
  for (const auto& command : run_.commands) execute(command);
}

json Steps::step(const std::string& name, const std::vector<std::string>& arguments, ChildResult& child) {
  result_.log += fmt::format("$ {}\n", fmt::join(arguments, " "));
  child = run_child(arguments, run_.folder);
  const std::string log = as_utf8(child.log);
  result_.log += log;
  if (child.exit_code != 0) {
    const std::string said = last_line(log);
    throw Error(ErrorCode::io, name, fmt::format("exit code {}{}{}", child.exit_code, said.empty() ? "" : ": ", said));
  }
  if (child.output.empty()) return json::object();
  json parsed = json::parse(child.output, nullptr, false);
  if (parsed.is_discarded()) {
    throw Error(ErrorCode::invalid_file, name, fmt::format("printed '{}'", last_line(as_utf8(child.output))),
                "one JSON value");
  }
  result_.documents[name] = parsed.dump();
  return parsed;
}

json Steps::mxq(const std::string& name, std::vector<std::string> arguments, ChildResult& child) {
  arguments.insert(arguments.begin(), options_.program.string());
  arguments.insert(arguments.end(), options_.flags.begin(), options_.flags.end());
  arguments.insert(arguments.end(), {"--json", "--quiet"});
  return step(name, arguments, child);
}

void Steps::keep(const std::string& name, const json& value) {
  if (value.is_number()) result_.metrics[name] = value.get<double>();
  if (!value.is_object()) return;
  for (const auto& [key, part] : value.items()) keep(name + "." + key, part);
}

void Steps::inspect() {
  ChildResult child;
  const json printed = mxq("inspect", {"inspect", run_.model_path.string()}, child);
  keep("parameters", printed.value("parameters", json()));
  // Of a model that is quantized already, what its matrices take is no such number.
  const json matrices = printed.value("matrices", json::array());
  const bool halves = !matrices.empty() && std::all_of(matrices.begin(), matrices.end(), [](const json& matrix) {
    const std::string dtype = matrix.value("dtype", "");
    return dtype == "F16" || dtype == "BF16";
  });
  if (halves) result_.metrics["bits_per_parameter"] = 16;
}

void Steps::quantize() {
  std::vector<std::string> arguments{"quantize", run_.model_path.string(), "-o", checkpoint_.string()};
  arguments.insert(arguments.end(), run_.quantize.begin(), run_.quantize.end());
  ChildResult child;
  const json printed = mxq("quantize", arguments, child);
  keep("bits_per_parameter", printed.value("bits_per_parameter", json()));
  keep("matrix_bytes", printed.value("bytes", json()));
  keep("predicted", printed.value(json::json_pointer("/objective/value"), json()));
  keep("quantize_seconds", printed.value("seconds", json()));
  result_.metrics["quantize_seconds"] = child.seconds;
  result_.metrics["quantize_peak_rss_bytes"] = static_cast<double>(child.peak_rss_bytes);
  const json files = printed.value("files", json::object());
  double bytes = 0;
  for (const auto& [file, size] : files.items()) {
    if (file.ends_with(".safetensors") && size.is_number()) bytes += size.get<double>();
  }
  result_.metrics["file_bytes"] = bytes;
}

void Steps::score(const ExperimentRun::Scoring& scoring) {
  std::vector<std::string> arguments{"eval", checkpoint_.string()};
  if (scoring.text.empty()) {
    arguments.emplace_back("--self");
  } else {
    arguments.insert(arguments.end(), {"--text", scoring.text.string()});
  }
  arguments.insert(arguments.end(), scoring.flags.begin(), scoring.flags.end());
  if (scoring.against_original && !run_.original) {
    arguments.insert(arguments.end(), {"--against", run_.model_path.string()});
    if (scoring.base_logits) arguments.insert(arguments.end(), {"--base-logits", base_logits(scoring).string()});
  }
  ChildResult child;
  const json printed = mxq("eval." + scoring.name, arguments, child);
  keep("perplexity." + scoring.name, printed.value("perplexity", json()));
  keep("tokens_per_second", printed.value("tokens_per_second", json()));
  keep("weight_bytes", printed.value("weight_bytes", json()));
  result_.metrics["eval_peak_rss_bytes"] =
      std::max(result_.metrics["eval_peak_rss_bytes"], static_cast<double>(child.peak_rss_bytes));
  if (!scoring.against_original) return;
  if (run_.original) {
    result_.metrics["kl." + scoring.name] = 0;
    return;
  }
  keep("kl." + scoring.name, printed.value(json::json_pointer("/kl/mean"), json()));
  keep("top1_agreement." + scoring.name, printed.value(json::json_pointer("/kl/top1_agreement"), json()));
  keep("ln_ppl_ratio." + scoring.name, printed.value(json::json_pointer("/kl/ln_ppl_ratio"), json()));
}

fs::path Steps::base_logits(const ExperimentRun::Scoring& scoring) const {
  ContentHash hash;
  hash.add(json{run_.model_path.string(), scoring.text.string(), scoring.flags}.dump());
  return shared_ / (hash.hex() + ".logits");
}

void Steps::execute(const ExperimentRun::Command& command) {
  std::vector<std::string> arguments;
  for (std::string argument : command.arguments) {
    if (argument.find("{plain}") != std::string::npos) dequantize();
    replace(argument, "{plain}", (scratch_ / "plain").string());
    replace(argument, "{checkpoint}", checkpoint_.string());
    replace(argument, "{model}", run_.model_path.string());
    arguments.push_back(std::move(argument));
  }
  ChildResult child;
  const json printed = step("command." + command.name, arguments, child);
  result_.metrics["seconds." + command.name] = child.seconds;
  if (printed.is_object()) keep(command.name, printed);
}

void Steps::dequantize() {
  if (fs::exists(scratch_ / "plain")) return;
  ChildResult child;
  mxq("dequantize", {"dequantize", checkpoint_.string(), "-o", (scratch_ / "plain").string()}, child);
}

}  // namespace mxq
