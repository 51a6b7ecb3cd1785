#include "mxq/plan_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "mxq/error.h"

namespace mxq {
namespace {

using testing::AllOf;
using testing::HasSubstr;

PlanFile example() {
  PlanFile file;
  file.plan.objective = Objective::f2;
  file.plan.value = 1.0 / 3;
  file.plan.lower_bound = 1.0 / 3;
  file.plan.bytes = 300;
  file.plan.budget_bytes = 310;
  file.plan.bits_per_parameter = 3.1;
  file.plan.best_uniform = UniformPlan{"b3g64", 0.5, 305};
  file.plan.matrices = {{"model.layers.0.self_attn.q_proj", "b4g64", 200, 0.25},
                        {"other \"name\"\n", "b2g32", 100, 1e-30}};
  file.quantize = {Fit::hqq, 0, Metadata::f16, Normalize::columns};
  return file;
}

std::string error_of(const std::string& json) {
  try {
    read_plan(json, "plan.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(PlanFile, RoundTripKeepsEveryNumber) {
  const PlanFile file = example();
  const PlanFile again = read_plan(write_plan(file), "plan.json");
  EXPECT_EQ(write_plan(again), write_plan(file));
  EXPECT_EQ(again.plan.value, file.plan.value);
  EXPECT_EQ(again.plan.matrices[1].name, file.plan.matrices[1].name);
  EXPECT_EQ(again.plan.matrices[1].fnorm, 1e-30);
  EXPECT_EQ(again.quantize.metadata, Metadata::f16);
  EXPECT_EQ(again.quantize.axis, 0);
  EXPECT_EQ(again.quantize.normalize, Normalize::columns);
}

TEST(PlanFile, HasTheDocumentedFields) {
  const auto json = nlohmann::json::parse(write_plan(example()));
  EXPECT_EQ(json["objective"]["kind"], "f2");
  EXPECT_EQ(json["best_uniform"]["bytes"], 305);
  EXPECT_EQ(json["matrices"]["model.layers.0.self_attn.q_proj"]["scheme"], "b4g64");
  EXPECT_FALSE(json.contains("seconds")) << "unknown here, so that equal plans give equal bytes";
}

TEST(PlanFile, PlansWithoutNormalizeHaveNone) {
  auto json = nlohmann::json::parse(write_plan(example()));
  EXPECT_EQ(json["quantize"].erase("normalize"), 1u);
  EXPECT_EQ(read_plan(json.dump(), "p").quantize.normalize, Normalize::none);
}

TEST(PlanFile, KeepsTheCalibration) {
  PlanFile file = example();
  EXPECT_FALSE(nlohmann::json::parse(write_plan(file)).contains("calibration"));
  file.calibration.kind = CalibrationText::Kind::self;
  file.calibration.sequences = 7;
  file.calibration.tokens = 123;
  file.calibration.sampling = {0.5, 0.9, 42};
  file.quantize.feedback.damping = 0.05;
  file.quantize.feedback.order = ColumnOrder::diagonal;
  file.quantize.feedback.zero_point = ZeroPoint::symmetric;
  file.quantize.feedback.token_weights = TokenWeighting::gradient;
  file.quantize.feedback.shrinkage = 0.3;
  file.quantize.feedback.sweeps = 5;
  file.quantize.feedback.correction = 0.7;
  file.format = "gguf";
  PlanFile again = read_plan(write_plan(file), "p");
  EXPECT_EQ(again.calibration.kind, CalibrationText::Kind::self);
  EXPECT_EQ(again.calibration.sequences, 7);
  EXPECT_EQ(again.calibration.tokens, 123);
  EXPECT_EQ(again.calibration.sampling, file.calibration.sampling);
  EXPECT_EQ(again.quantize.feedback.damping, 0.05);
  EXPECT_EQ(again.quantize.feedback.order, ColumnOrder::diagonal);
  EXPECT_EQ(again.quantize.feedback.zero_point, ZeroPoint::symmetric);
  EXPECT_EQ(again.quantize.feedback.token_weights, TokenWeighting::gradient);
  EXPECT_EQ(again.quantize.feedback.shrinkage, 0.3);
  EXPECT_EQ(again.quantize.feedback.sweeps, 5);
  EXPECT_EQ(again.quantize.feedback.correction, 0.7);
  EXPECT_EQ(again.format, "gguf");
  file.calibration.kind = CalibrationText::Kind::file;
  file.calibration.file = "some text.txt";
  again = read_plan(write_plan(file), "p");
  EXPECT_EQ(again.calibration.kind, CalibrationText::Kind::file);
  EXPECT_EQ(again.calibration.file, "some text.txt");
}

/// Of weights alone zeros are said where they are not what the format has without being asked.
TEST(PlanFile, KeepsTheZerosOfPlansWithoutAText) {
  PlanFile file = example();
  for (const auto& [format, usual] : {std::pair{"gptq", ZeroPoint::symmetric},
                                      {"awq", ZeroPoint::integer},
                                      {"compressed-tensors", ZeroPoint::symmetric},
                                      {"mxq", ZeroPoint::real}}) {
    for (const ZeroPoint zero_point : {ZeroPoint::real, ZeroPoint::integer, ZeroPoint::symmetric}) {
      file.format = format;
      file.quantize.feedback.zero_point = zero_point;
      const auto json = nlohmann::json::parse(write_plan(file));
      EXPECT_EQ(json["quantize"].contains("zero_point"), zero_point != usual) << format;
      EXPECT_EQ(read_plan(json.dump(), "p").quantize.feedback.zero_point, zero_point) << format;
    }
  }
}

TEST(PlanFile, CalibrationsOfBeforeThereWasAChoiceAreAsTheyWereMade) {
  PlanFile file = example();
  file.calibration.kind = CalibrationText::Kind::self;
  auto json = nlohmann::json::parse(write_plan(file));
  EXPECT_EQ(json["calibration"].erase("damping") + json["calibration"].erase("column_order") +
                json["calibration"].erase("zero_point") + json["calibration"].erase("token_weights") +
                json["calibration"].erase("shrinkage") + json["calibration"].erase("correction") +
                json["calibration"].erase("sweeps") + json.erase("format"),
            8u);
  const FeedbackOptions again = read_plan(json.dump(), "p").quantize.feedback;
  EXPECT_EQ(again.damping, 0.01);
  EXPECT_EQ(again.order, ColumnOrder::left);
  EXPECT_EQ(again.zero_point, ZeroPoint::real);
  EXPECT_EQ(again.token_weights, TokenWeighting::even);
  EXPECT_EQ(again.shrinkage, 0);
  EXPECT_EQ(again.sweeps, 0);
  EXPECT_EQ(again.correction, 0);
  json["calibration"]["column_order"] = "right";
  EXPECT_THAT(error_of(json.dump()), HasSubstr("left, diagonal"));
}

TEST(PlanFile, CarriesItsVersionAndPlansWithoutOneAreTheFirst) {
  auto json = nlohmann::json::parse(write_plan(example()));
  EXPECT_EQ(json["version"], 1);
  json.erase("version");
  EXPECT_EQ(read_plan(json.dump(), "p").plan.bytes, example().plan.bytes);
}

TEST(PlanFile, NoUniformPlanIsNull) {
  PlanFile file = example();
  file.plan.best_uniform.reset();
  EXPECT_TRUE(nlohmann::json::parse(write_plan(file))["best_uniform"].is_null());
  EXPECT_FALSE(read_plan(write_plan(file), "p").plan.best_uniform);
}

TEST(PlanFile, ErrorsNameTheField) {
  EXPECT_THAT(error_of("not json"), HasSubstr("plan.json: not valid JSON (UTF-8) at byte 1 (line 1, column 2)"));
  EXPECT_THAT(error_of("[]"), HasSubstr("plan.json: the file is not an object"));
  EXPECT_THAT(error_of("[1]"), HasSubstr("not an object"));
  EXPECT_THAT(error_of("{}"), HasSubstr("'objective' is missing"));
  const auto changed = [](const char* pointer, nlohmann::json value) {
    auto json = nlohmann::json::parse(write_plan(example()));
    json[nlohmann::json::json_pointer(pointer)] = std::move(value);
    return error_of(json.dump());
  };
  EXPECT_THAT(changed("/version", 2), HasSubstr("plan.json: version 2 of plans; expected version 1"));
  EXPECT_THAT(changed("/version", "1"), HasSubstr("'version' is not a count"));
  EXPECT_THAT(changed("/bytes", "300"), HasSubstr("'bytes' is not a count"));
  EXPECT_THAT(changed("/bytes", -1), HasSubstr("'bytes' is not a count"));
  EXPECT_THAT(changed("/bytes", 7), AllOf(HasSubstr("plan.json: 'bytes' is 7"), HasSubstr("the matrices take")));
  EXPECT_THAT(changed("/objective/kind", "best"), HasSubstr("plan.json: 'objective.kind' is 'best'"));
  EXPECT_THAT(changed("/solver", "luck"), HasSubstr("plan.json: 'solver' is 'luck'"));
  EXPECT_THAT(changed("/quantize/fit", "magic"), HasSubstr("plan.json: 'quantize.fit' is 'magic'"));
  EXPECT_THAT(changed("/quantize/axis", 2), HasSubstr("plan.json: 'quantize.axis' is '2'; expected 0 or 1"));
  EXPECT_THAT(changed("/quantize/normalize", "rows"),
              AllOf(HasSubstr("'quantize.normalize' is 'rows'"), HasSubstr("none, columns")));
  EXPECT_THAT(changed("/matrices/model.layers.0.self_attn.q_proj/scheme", "b99g1"),
              HasSubstr("plan.json: 'matrices.model.layers.0.self_attn.q_proj.scheme' is 'b99g1'"));
  EXPECT_THAT(changed("/quantize/normalize", 1), HasSubstr("'quantize.normalize' is not a string"));
  EXPECT_THAT(changed("/matrices", 3), HasSubstr("'matrices' is not an object"));
  EXPECT_THAT(changed("/matrices/model.layers.0.self_attn.q_proj", 3), HasSubstr("q_proj' is not an object"));
  EXPECT_THAT(changed("/matrices/model.layers.0.self_attn.q_proj/bytes", 0.5), HasSubstr("bytes' is not a count"));
}

}  // namespace
}  // namespace mxq
