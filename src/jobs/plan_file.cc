#include "mxq/plan_file.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "mxq/error.h"

namespace mxq {

namespace {

using Json = nlohmann::ordered_json;

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
    const std::string given = text(key);
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

Json calibration_json(const Calibration& calibration) {
  Json json{{"text", calibration_text_name(calibration.text)}};
  if (calibration.text == Calibration::Text::file) json["file"] = calibration.file;
  json["sequences"] = calibration.sequences;
  json["tokens"] = calibration.tokens;
  if (calibration.text == Calibration::Text::self) {
    json["temperature"] = calibration.sampling.temperature;
    json["top_p"] = calibration.sampling.top_p;
    json["seed"] = calibration.sampling.seed;
  }
  json["damping"] = calibration.damping;
  json["zero_point"] = zero_point_name(calibration.zero_point);
  json["column_order"] = column_order_name(calibration.order);
  return json;
}

Calibration read_calibration(const Reader& reader) {
  Calibration calibration;
  calibration.text = reader.choice("text", parse_calibration_text);
  calibration.sequences = reader.count("sequences");
  calibration.tokens = reader.count("tokens");
  if (calibration.text == Calibration::Text::file) {
    calibration.file = reader.text("file");
  } else {
    calibration.sampling = {reader.number("temperature"), reader.number("top_p"), reader.seed("seed")};
  }
  // Plans from before there was a choice have none of these.
  if (reader.contains("damping")) calibration.damping = reader.number("damping");
  if (reader.contains("zero_point")) calibration.zero_point = reader.choice("zero_point", parse_zero_point);
  if (reader.contains("column_order")) calibration.order = reader.choice("column_order", parse_column_order);
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
            {"bits_per_parameter", plan.bits_per_parameter},
            {"bytes", plan.bytes},
            {"budget_bytes", plan.budget_bytes},
            {"solver", solver_name(plan.solver)}};
  if (plan.seconds > 0) json["seconds"] = plan.seconds;
  json["best_uniform"] = plan.best_uniform ? Json{{"scheme", plan.best_uniform->scheme},
                                                  {"objective", plan.best_uniform->objective},
                                                  {"bytes", plan.best_uniform->bytes}}
                                           : Json();
  json["quantize"] = {{"fit", fit_name(file.quantize.fit)},
                      {"axis", file.quantize.axis},
                      {"metadata", metadata_name(file.quantize.metadata)},
                      {"normalize", normalize_name(file.quantize.normalize)}};
  if (file.calibration.text != Calibration::Text::none) json["calibration"] = calibration_json(file.calibration);
  Json matrices = Json::object();
  for (const auto& matrix : plan.matrices) {
    matrices[matrix.name] = {{"scheme", matrix.scheme}, {"bytes", matrix.bytes}, {"fnorm", matrix.fnorm}};
  }
  json["matrices"] = std::move(matrices);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

PlanFile read_plan(const std::string& text, const std::string& source) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const Reader root(json, "", source);
  PlanFile file;
  Plan& plan = file.plan;
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
  const Reader quantize = root.object("quantize");
  file.quantize.fit = quantize.choice("fit", parse_fit);
  const int64_t axis = quantize.count("axis");
  if (axis > 1) quantize.fail("axis", fmt::format("is {}: 0 or 1", axis));
  file.quantize.axis = static_cast<int>(axis);
  file.quantize.metadata = quantize.choice("metadata", parse_metadata);
  // Plans from before there was a choice have none.
  if (quantize.contains("normalize")) file.quantize.normalize = quantize.choice("normalize", parse_normalize);
  if (root.contains("calibration")) file.calibration = read_calibration(root.object("calibration"));
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
