#include "mxq/plan_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "export/target.h"
#include "format/python_json.h"
#include "mxq/error.h"
#include "mxq/method.h"

namespace mxq {

namespace {

using Json = nlohmann::ordered_json;

/// Of the fields and their meaning. Plans from before there was one have none, and are of the first.
constexpr int64_t kPlanVersion = 1;

class Reader {
 public:
  Reader(const Json& object, std::string where, const std::string& source)
      : object_(object), where_(std::move(where)), source_(source) {
    if (!object.is_object()) fail("is not an object");
  }

  Reader object(const char* key) const { return Reader(at(key), where_ + key + ".", source_); }
  std::string text(const char* key) const {
    if (!at(key).is_string()) fail(key, "is not a string");
    return at(key).get<std::string>();
  }
  double number(const char* key) const {
    if (!at(key).is_number()) fail(key, "is not a number");
    return at(key).get<double>();
  }
  int64_t count(const char* key) const {
    if (!at(key).is_number_integer() || at(key).get<int64_t>() < 0) fail(key, "is not a count");
    return at(key).get<int64_t>();
  }
  uint64_t seed(const char* key) const {
    if (!at(key).is_number_unsigned()) fail(key, "is not a seed");
    return at(key).get<uint64_t>();
  }
  /// What `parse` makes of a name; errors name the field.
  template <typename Parse>
  auto choice(const char* key, Parse parse) const {
    return choice(key, false, parse);
  }
  /// Of a name or of a number.
  template <typename Parse>
  auto choice(const char* key, bool is_number, Parse parse) const {
    const std::string given = is_number ? (number(key), at(key).dump()) : text(key);
    try {
      return parse(given);
    } catch (const Error& error) {
      throw Error(ErrorCode::invalid_file, "read plan " + source_, fmt::format("'{}{}' is '{}'", where_, key, given),
                  error.supported());
    }
  }
  bool contains(const char* key) const { return object_.contains(key); }
  const Json& at(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) fail(key, "is missing");
    return *found;
  }

  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    throw Error(ErrorCode::invalid_file, "read plan " + source_, fmt::format("'{}{}' {}", where_, key, what));
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(
        ErrorCode::invalid_file, "read plan " + source_,
        where_.empty() ? "the file " + what : fmt::format("'{}' {}", where_.substr(0, where_.size() - 1), what));
  }

  const Json& object_;
  std::string where_;
  const std::string& source_;
};

constexpr const char* kZeroPoint = "zero_point";

ZeroPoint usual_zero_point(const std::string& format) {
  return find_target(format).usual_zero_point().value_or(FeedbackOptions{}.zero_point);
}

/// "column-order": "column_order".
std::string json_name(const MethodField& field) {
  std::string name(field.name);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// The fields of a section.
void add_section(Json& json, const QuantizeOptions& options, std::string_view section) {
  for (const MethodField& field : method_fields()) {
    if (field.section != section) continue;
    const std::string value = field.show(options);
    json[json_name(field)] = field.number ? Json::parse(value) : Json(value);
  }
}

/// Those that are there; plans from before there was a choice have fewer.
void read_section(const Reader& reader, MethodRequest& request, std::string_view section) {
  for (const MethodField& field : method_fields()) {
    if (field.section != section) continue;
    const std::string name = json_name(field);
    if (!reader.contains(name.c_str())) continue;
    reader.choice(name.c_str(), field.number, [&](const std::string& value) { field.set(request, value); });
  }
}

Json calibration_json(const CalibrationText& calibration, const QuantizeOptions& options) {
  Json json{{"text", calibration_text_name(calibration.kind)}};
  if (calibration.kind == CalibrationText::Kind::file) json["file"] = calibration.file;
  json["sequences"] = calibration.sequences;
  json["tokens"] = calibration.tokens;
  if (calibration.kind == CalibrationText::Kind::self) {
    json["temperature"] = calibration.sampling.temperature;
    json["top_p"] = calibration.sampling.top_p;
    json["seed"] = calibration.sampling.seed;
  }
  add_section(json, options, "calibration");
  return json;
}

CalibrationText read_calibration(const Reader& reader) {
  CalibrationText calibration;
  calibration.kind = reader.choice("text", parse_calibration_text);
  calibration.sequences = reader.count("sequences");
  calibration.tokens = reader.count("tokens");
  if (calibration.kind == CalibrationText::Kind::file) {
    calibration.file = reader.text("file");
  } else {
    calibration.sampling = {reader.number("temperature"), reader.number("top_p"), reader.seed("seed")};
  }
  return calibration;
}

}  // namespace

std::string write_plan(const PlanFile& file) {
  const Plan& plan = file.plan;
  Json json{{"objective",
             {{"kind", objective_name(plan.objective)},
              {"value", plan.value},
              {"lower_bound", plan.lower_bound},
              {"gap", plan.gap}}},
            {"version", kPlanVersion},
            {"format", file.format},
            {"bits_per_parameter", plan.bits_per_parameter},
            {"bytes", plan.bytes},
            {"budget_bytes", plan.budget_bytes},
            {"solver", solver_name(plan.solver)}};
  if (plan.seconds > 0) json["seconds"] = plan.seconds;
  json["best_uniform"] = plan.best_uniform ? Json{{"scheme", plan.best_uniform->scheme},
                                                  {"objective", plan.best_uniform->objective},
                                                  {"bytes", plan.best_uniform->bytes}}
                                           : Json();
  json["quantize"] = Json::object();
  add_section(json["quantize"], file.quantize, "quantize");
  if (file.calibration.kind != CalibrationText::Kind::none) {
    json["calibration"] = calibration_json(file.calibration, file.quantize);
  } else if (file.quantize.feedback.zero_point != usual_zero_point(file.format)) {
    json["quantize"][kZeroPoint] = zero_point_name(file.quantize.feedback.zero_point);
  }
  Json matrices = Json::object();
  for (const auto& matrix : plan.matrices) {
    matrices[matrix.name] = {{"scheme", matrix.scheme}, {"bytes", matrix.bytes}, {"fnorm", matrix.fnorm}};
  }
  json["matrices"] = std::move(matrices);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

PlanFile read_plan(const std::string& text, const std::string& source) {
  const Json json = parse_python_json_in_order(text, "read plan " + source);
  const Reader root(json, "", source);
  if (root.contains("version") && root.count("version") != kPlanVersion) {
    throw Error(ErrorCode::unsupported, "read plan " + source,
                fmt::format("version {} of plans", root.count("version")), fmt::format("version {}", kPlanVersion));
  }
  PlanFile file;
  Plan& plan = file.plan;
  if (root.contains("format")) {
    file.format = root.choice("format", [](const std::string& name) { return std::string(find_target(name).name()); });
  }
  const Reader objective = root.object("objective");
  plan.objective = objective.choice("kind", parse_objective);
  plan.value = objective.number("value");
  plan.lower_bound = objective.number("lower_bound");
  plan.gap = objective.number("gap");
  plan.bits_per_parameter = root.number("bits_per_parameter");
  plan.bytes = root.count("bytes");
  plan.budget_bytes = root.count("budget_bytes");
  if (root.contains("seconds")) plan.seconds = root.number("seconds");
  plan.solver = root.choice("solver", parse_solver);
  if (!root.at("best_uniform").is_null()) {
    const Reader uniform = root.object("best_uniform");
    plan.best_uniform = UniformPlan{uniform.text("scheme"), uniform.number("objective"), uniform.count("bytes")};
  }
  MethodRequest method;
  method.fit.emplace().fit = root.object("quantize").choice("fit", parse_fit);
  root.object("quantize").at("axis");
  root.object("quantize").at("metadata");
  read_section(root.object("quantize"), method, "quantize");
  if (root.contains("calibration")) {
    file.calibration = read_calibration(root.object("calibration"));
    read_section(root.object("calibration"), method, "calibration");
  }
  file.quantize = stated_options(method);
  // Plans that look at no text say it where it is not what is usual.
  const Reader quantize = root.object("quantize");
  if (quantize.contains(kZeroPoint)) {
    file.quantize.feedback.zero_point = quantize.choice(kZeroPoint, parse_zero_point);
  } else if (!method.zero_point) {
    file.quantize.feedback.zero_point = usual_zero_point(file.format);
  }
  const Reader matrices = root.object("matrices");
  int64_t bytes = 0;
  for (const auto& [name, entry] : json.at("matrices").items()) {
    const Reader matrix(entry, "matrices." + name + ".", source);
    const std::string scheme = matrix.choice("scheme", parse_scheme).name();
    plan.matrices.push_back({name, scheme, matrix.count("bytes"), matrix.number("fnorm")});
    if (__builtin_add_overflow(bytes, plan.matrices.back().bytes, &bytes)) matrix.fail("bytes", "is too large");
  }
  if (bytes != plan.bytes) root.fail("bytes", fmt::format("is {}, and the matrices take {}", plan.bytes, bytes));
  return file;
}

}  // namespace mxq
