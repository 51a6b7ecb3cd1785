// Requests: what is left open, what is refused, and the table of fields.
#include "mxq/method.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "expect_error.h"
#include "format/safetensors_writer.h"
#include "model/tiny_model.h"
#include "mxq/files.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

using testing::HasSubstr;

MethodRequest request(std::vector<std::pair<std::string, std::string>> fields) {
  MethodRequest made;
  for (const auto& [name, value] : fields) find_method_field(name)->set(made, value);
  return made;
}

/// A model that can be run, and a file of matrices that cannot.
struct Resolve : testing::Test {
  void SetUp() override {
    std::filesystem::create_directory(folder.path() / "model");
    TinyModel("llama2").write(folder.path() / "model");
    const std::filesystem::path file = folder.path() / "alone.safetensors";
    SafetensorsWriter writer(file, {{"model.layers.0.mlp.up_proj.weight", DType::f32, {64, 64}}});
    writer.write(std::vector<std::byte>(4 * 64 * 64));
    writer.commit();
  }

  Method runnable(std::vector<std::pair<std::string, std::string>> fields) const {
    return resolve(Model(folder.path() / "model"), request(std::move(fields)));
  }
  Method alone(std::vector<std::pair<std::string, std::string>> fields) const {
    return resolve(Model(folder.path() / "alone.safetensors"), request(std::move(fields)));
  }

  TemporaryFolder folder;
};

TEST_F(Resolve, AModelThatCanBeRunIsLookedAt) {
  const Method method = runnable({{"bits", "3.25"}});
  EXPECT_EQ(method.objective, Objective::kl);
  EXPECT_EQ(method.quantize.fit, Fit::gptq);
  EXPECT_EQ(method.quantize.normalize, Normalize::rotation);
  EXPECT_EQ(method.schemes, parse_schemes("wide,gaussian"));
  EXPECT_FALSE(method.matrices.embeddings);
  EXPECT_EQ(method.calibration.kind, CalibrationText::Kind::self);
  EXPECT_EQ(method.calibration.sequences * method.calibration.tokens, 18432);
  EXPECT_EQ(method.quantize.feedback.token_weights, TokenWeighting::even);
  EXPECT_EQ(method.quantize.feedback.correction, 0);
  EXPECT_EQ(method.quantize.feedback.shrinkage, 0.1);
  EXPECT_EQ(method.quantize.feedback.sweeps, 3);
  EXPECT_EQ(method.sample, probe_text(384));
  EXPECT_EQ(method.note, "");
}

TEST_F(Resolve, WhatIsUsualOfAFormatIsTaken) {
  const Method method = runnable({{"size", "64KiB"}, {"format", "mlx"}, {"skip", "down_proj"}});
  EXPECT_EQ(method.quantize.metadata, Metadata::bf16_bias);
  EXPECT_EQ(method.quantize.normalize, Normalize::none);
  EXPECT_EQ(method.quantize.fit, Fit::gptq);
  EXPECT_EQ(method.schemes, wide_schemes());
  EXPECT_TRUE(method.matrices.embeddings);
  EXPECT_EQ(runnable({{"format", "mlx"}, {"metadata", "f16-bias"}}).quantize.metadata, Metadata::f16_bias);
  expect_error(ErrorCode::usage, "metadata: q8 for the format mlx", [&] {
    runnable({{"format", "mlx"}, {"metadata", "q8"}});
  });
  expect_error(ErrorCode::unsupported, "a model of the type ''", [&] { alone({{"format", "mlx"}}); });
}

TEST_F(Resolve, OfCompressedTensorsZerosAreAllTheSame) {
  const Method method = runnable({{"size", "64KiB"}, {"format", "compressed-tensors"}, {"skip", "down_proj"}});
  EXPECT_EQ(method.quantize.feedback.zero_point, ZeroPoint::symmetric);
  EXPECT_EQ(method.quantize.metadata, Metadata::bf16_bias);
  EXPECT_EQ(method.quantize.fit, Fit::gptq);
  EXPECT_EQ(method.quantize.feedback.order, ColumnOrder::diagonal);
  EXPECT_EQ(runnable({{"format", "compressed-tensors"}, {"column-order", "left"}}).quantize.feedback.order,
            ColumnOrder::left);
  EXPECT_FALSE(method.matrices.embeddings) << "whatever the budget counts";
  EXPECT_EQ(runnable({{"format", "compressed-tensors"}, {"objective", "rel"}}).quantize.feedback.zero_point,
            ZeroPoint::symmetric);
  expect_error(ErrorCode::usage, "embeddings: true for the format compressed-tensors", [&] {
    runnable({{"format", "compressed-tensors"}, {"embeddings", "true"}});
  });
  expect_error(ErrorCode::usage, "zero-point: real for the format compressed-tensors", [&] {
    runnable({{"format", "compressed-tensors"}, {"zero-point", "real"}});
  });
}

TEST_F(Resolve, OfGptqAndAwqZerosAreCodes) {
  const Method gptq = runnable({{"size", "64KiB"}, {"format", "gptq"}, {"skip", "down_proj"}});
  EXPECT_EQ(gptq.quantize.feedback.zero_point, ZeroPoint::symmetric);
  EXPECT_EQ(gptq.quantize.feedback.order, ColumnOrder::diagonal);
  EXPECT_EQ(gptq.quantize.metadata, Metadata::bf16_bias);
  EXPECT_EQ(gptq.schemes, paper_schemes());
  const Method awq = runnable({{"bits", "5"}, {"format", "awq"}, {"skip", "down_proj"}});
  EXPECT_EQ(awq.quantize.feedback.zero_point, ZeroPoint::integer);
  EXPECT_EQ(awq.schemes, (std::vector<Scheme>{{4, 128}}));
  // Where groups have a bias, weights alone are fitted to such zeros too.
  EXPECT_EQ(runnable({{"bits", "5"}, {"format", "gptq"}, {"fit", "mse"}, {"zero-point", "integer"}})
                .quantize.feedback.zero_point,
            ZeroPoint::integer);
  expect_error(ErrorCode::usage, "zero-point: has no effect with", [&] {
    runnable({{"bits", "5"}, {"fit", "mse"}, {"zero-point", "integer"}});
  });
}

TEST_F(Resolve, OfOnnxSchemesAreThoseOfItsOperators) {
  const Method method = runnable({{"bits", "5"}, {"format", "onnx"}});
  EXPECT_EQ(method.quantize.feedback.zero_point, ZeroPoint::symmetric);
  EXPECT_EQ(method.quantize.metadata, Metadata::f16_bias);
  EXPECT_EQ(method.quantize.feedback.order, ColumnOrder::diagonal);
  EXPECT_TRUE(method.matrices.embeddings) << "whatever the budget counts";
  for (const Scheme& scheme : method.schemes) {
    EXPECT_TRUE(scheme.bits == 2 || scheme.bits == 4 || scheme.bits == 8) << scheme.name();
  }
  EXPECT_EQ(std::ranges::count(method.schemes, 4, &Scheme::bits), 5) << "groups of 16 to 256";
  expect_error(ErrorCode::usage, "schemes: b3g64 for the format onnx", [&] {
    runnable({{"bits", "5"}, {"format", "onnx"}, {"schemes", "b3g64,b4g64"}});
  });
}

TEST_F(Resolve, OneThatCannotIsSaidToBeAndMeasuredByWeightsAlone) {
  const Method method = alone({{"bits", "3.25"}});
  EXPECT_EQ(method.objective, Objective::rel);
  EXPECT_EQ(method.quantize.fit, Fit::mse);
  EXPECT_EQ(method.quantize.normalize, Normalize::rotation);
  EXPECT_EQ(method.calibration.kind, CalibrationText::Kind::none);
  EXPECT_THAT(method.note,
              HasSubstr("objective rel instead of kl and fit mse instead of gptq, for the model cannot be run"));
  EXPECT_EQ(alone({{"bits", "3"}, {"objective", "f"}}).note, "") << "what was asked for";
  EXPECT_THAT(alone({{"bits", "3"}, {"fit", "hqq"}}).note, HasSubstr("objective rel instead of kl, for"));
  expect_error(ErrorCode::unsupported, "objective: a model that cannot be run", [&] { alone({{"objective", "kl"}}); });
  expect_error(ErrorCode::usage, "max-loss: a model that cannot be run", [&] { alone({{"max-loss", "1%"}}); });
}

TEST_F(Resolve, AnotherObjectiveLooksAtWeightsAlone) {
  const Method method = runnable({{"bits", "4"}, {"objective", "f2"}});
  EXPECT_EQ(method.objective, Objective::f2);
  EXPECT_EQ(method.quantize.fit, Fit::mse);
  EXPECT_EQ(runnable({{"objective", "f2"}, {"fit", "gptq"}}).quantize.fit, Fit::gptq);
  expect_error(ErrorCode::usage, "max-loss: objective f", [&] { runnable({{"max-loss", "1%"}, {"objective", "f"}}); });
}

TEST_F(Resolve, BudgetsOfAllBytesPlanEmbeddingsButForAxis0) {
  EXPECT_TRUE(runnable({{"size", "1MiB"}}).matrices.embeddings);
  EXPECT_TRUE(runnable({{"vram", "1MiB"}}).matrices.embeddings);
  EXPECT_TRUE(runnable({{"max-loss", "1%"}}).matrices.embeddings);
  EXPECT_FALSE(runnable({{"size", "1MiB"}, {"embeddings", "false"}}).matrices.embeddings);
  EXPECT_FALSE(runnable({{"size", "1MiB"}, {"axis", "0"}}).matrices.embeddings);
  EXPECT_EQ(runnable({{"size", "1MiB"}, {"axis", "0"}}).quantize.fit, Fit::mse) << "feedback needs axis 1";
}

TEST_F(Resolve, PublishedNamesStandForTheirOptionsWhateverTheOrder) {
  for (const bool last : {false, true}) {
    std::vector<std::pair<std::string, std::string>> fields{{"bits", "4"}, {"metadata", "f32"}};
    fields.insert(last ? fields.end() : fields.begin(), {"fit", "autogptq"});
    const Method method = runnable(fields);
    EXPECT_EQ(method.quantize.fit, Fit::gptq);
    EXPECT_EQ(method.quantize.normalize, Normalize::none);
    EXPECT_EQ(method.quantize.metadata, Metadata::f32) << "what is asked for beside it";
    EXPECT_EQ(method.quantize.feedback.zero_point, ZeroPoint::symmetric);
    EXPECT_EQ(method.quantize.feedback.order, ColumnOrder::diagonal);
    EXPECT_EQ(method.quantize.feedback.token_weights, TokenWeighting::even);
    EXPECT_EQ(method.quantize.feedback.shrinkage, 0);
    EXPECT_EQ(method.quantize.feedback.sweeps, 0);
    EXPECT_EQ(method.quantize.feedback.correction, 0);
  }
}

TEST_F(Resolve, OneSchemeForAllIsMadeAsItsFamilyIs) {
  EXPECT_EQ(runnable({{"uniform", "b4g64"}}).quantize.fit, Fit::gptq);
  EXPECT_EQ(runnable({{"uniform", "nf4g64"}}).quantize.fit, Fit::rtn);
  EXPECT_EQ(alone({{"uniform", "b4g64"}}).quantize.fit, Fit::mse);
  EXPECT_EQ(alone({{"uniform", "nf4g64"}}).note, "");
  EXPECT_EQ(runnable({{"uniform", "b4g64"}}).objective, Objective::rel) << "nothing is chosen";
  expect_error(ErrorCode::usage, "uniform: nf4g64 with the fit gptq", [&] {
    runnable({{"uniform", "nf4g64"}, {"fit", "gptq"}});
  });
}

TEST_F(Resolve, FieldsWithoutEffectAreRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> weights{{"bits", "4"}, {"objective", "rel"}};
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{{"damping", "0.1"},
                                                                                    {"calibration-tokens", "64"},
                                                                                    {"column-order", "left"},
                                                                                    {"zero-point", "real"},
                                                                                    {"token-weights", "even"},
                                                                                    {"shrinkage", "0"},
                                                                                    {"correction", "0"},
                                                                                    {"sweeps", "1"},
                                                                                    {"sample-tokens", "64"},
                                                                                    {"sample-seed", "1"}}) {
    auto fields = weights;
    fields.emplace_back(name, value);
    expect_error(ErrorCode::usage, name + ": has no effect with", [&] { runnable(fields); });
    EXPECT_NO_THROW(runnable({{"bits", "4"}, {name, value}})) << name;
  }
  expect_error(ErrorCode::usage, "zero-point: has no effect with the fit awq", [&] {
    runnable({{"bits", "4"}, {"fit", "awq"}, {"zero-point", "real"}});
  });
  // mse on a text looks at each column's own inputs, and feeds nothing back.
  for (const char* field : {"shrinkage", "correction", "sweeps"}) {
    expect_error(ErrorCode::usage, std::string(field) + ": has no effect with the fit mse", [&] {
      runnable({{"bits", "4"}, {"fit", "mse"}, {"calibration", "self"}, {field, "1"}});
    });
  }
  EXPECT_NO_THROW(runnable({{"bits", "4"}, {"fit", "mse"}, {"calibration", "self"}, {"damping", "0.5"}}));
}

TEST(Requests, TiesAreThoseOfTheArchitectures) {
  const AllocateOptions options = request({{"tie", "qkv,gate_up"}}).constraints();
  ASSERT_EQ(options.ties.size(), 2u);
  EXPECT_EQ(options.ties[0].modules, (std::vector<std::string>{"q_proj", "k_proj", "v_proj"}));
  EXPECT_EQ(options.ties[1].modules, (std::vector<std::string>{"gate_proj", "up_proj"}));
  expect_error(ErrorCode::usage, "'kv'; expected qkv, gate_up", [] { request({{"tie", "qkv,kv"}}); });
}

TEST(Requests, OneBudget) {
  expect_error(ErrorCode::usage, "0 budgets", [] { MethodRequest().budget(); });
  expect_error(ErrorCode::usage, "2 budgets", [] { request({{"bits", "3"}, {"size", "1GB"}}).budget(); });
  expect_error(ErrorCode::usage, "context: given without vram", [] {
    request({{"bits", "3"}, {"context", "9"}}).budget();
  });
  const Budget budget = request({{"vram", "8GiB"}}).budget();
  EXPECT_EQ(budget.bytes, int64_t{8} << 30);
  EXPECT_EQ(budget.context, 4096);
  EXPECT_EQ(budget.reserve, int64_t{512} << 20);
}

/// The table is whole: every field refuses nonsense, says when it is given, and is given once it has been set.
TEST(Fields, SetWhatTheySay) {
  const std::map<std::string_view, std::string> good{{"bits", "3.25"},
                                                     {"size", "4GiB"},
                                                     {"vram", "8GB"},
                                                     {"context", "8"},
                                                     {"reserve", "0B"},
                                                     {"max-loss", "1%"},
                                                     {"uniform", "b4g64"},
                                                     {"objective", "f"},
                                                     {"solver", "highs"},
                                                     {"pin", "q_proj=b8g32"},
                                                     {"min-bits", "3"},
                                                     {"tie", "qkv"},
                                                     {"schemes", "paper"},
                                                     {"fit", "sinq"},
                                                     {"axis", "0"},
                                                     {"metadata", "f16"},
                                                     {"normalize", "none"},
                                                     {"embeddings", "false"},
                                                     {"skip", "mlp"},
                                                     {"calibration", "self"},
                                                     {"calibration-tokens", "64"},
                                                     {"damping", "0.5"},
                                                     {"zero-point", "integer"},
                                                     {"column-order", "diagonal"},
                                                     {"sample-tokens", "64"},
                                                     {"sample-seed", "7"},
                                                     {"verify", "true"},
                                                     {"shrinkage", "0.2"},
                                                     {"token-weights", "gradient"},
                                                     {"correction", "0.2"},
                                                     {"sweeps", "1"},
                                                     {"format", "gguf"}};
  std::set<std::string_view> names;
  for (const MethodField& field : method_fields()) {
    ASSERT_TRUE(good.contains(field.name)) << field.name;
    EXPECT_TRUE(names.insert(field.name).second) << field.name << " twice";
    EXPECT_FALSE(field.help.empty()) << field.name;
    MethodRequest made;
    EXPECT_FALSE(field.given(made)) << field.name;
    field.set(made, good.at(field.name));
    EXPECT_TRUE(field.given(made)) << field.name;
    for (const MethodField& other : method_fields()) {
      EXPECT_EQ(other.given(made), &other == &field) << field.name << " sets " << other.name;
    }
    if (field.name == "skip" || field.name == "calibration") continue;  // any text
    EXPECT_THROW(field.set(made, "nonsense!"), Error) << field.name;
    // What is shown can be set again.
    if (field.show != nullptr) {
      const std::string shown = field.show(stated_options(made));
      MethodRequest again;
      field.set(again, shown);
      EXPECT_EQ(field.show(stated_options(again)), shown) << field.name;
    }
  }
  EXPECT_EQ(names.size(), good.size());
}

/// docs/reference/options.md is this table; MXQ_WRITE_DOCS=1 writes it.
TEST(Fields, AreDocumented) {
  std::string page =
      "# Options of a method\n\n"
      "`mxq measure`, `plan` and `quantize` take these options. An experiment spec takes them as keys of "
      "`[[methods]]`,\n"
      "without the dashes. The program makes this page from the one table that all of them read\n"
      "(`src/jobs/method_fields.cc`): a test fails where the page differs.\n";
  std::string last;
  for (const MethodField& field : method_fields()) {
    if (const std::string now(group_heading(field.group)); now != last) {
      page += "\n## " + now + "\n\n| option | default | what |\n|---|---|---|\n";
      last = now;
    }
    std::string help(field.help);
    for (size_t at = 0; (at = help.find('|', at)) != std::string::npos; at += 2) help.insert(at, "\\");
    std::string value(field.value);
    for (size_t at = 0; (at = value.find('|', at)) != std::string::npos; at += 2) value.insert(at, "\\");
    page += "| `--" + std::string(field.name) + (value.empty() ? ", --no-" + std::string(field.name) : " " + value) +
            "`" + (field.several ? ", more than once" : "") + " | " +
            (field.usual.empty() ? "" : "`" + std::string(field.usual) + "`") + " | " + help + " |\n";
  }
  const std::filesystem::path path = std::filesystem::path(MXQ_SOURCE_DIR) / "docs/reference/options.md";
  if (std::getenv("MXQ_WRITE_DOCS") != nullptr) write_file(path, page);
  EXPECT_EQ(read_file(path), page) << "MXQ_WRITE_DOCS=1 makes the page anew";
}

TEST(Fields, KeysTellAllOptionsApart) {
  const std::string usual = section_key({}, "quantize") + section_key({}, "calibration");
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{{"fit", "hqq"},
                                                                                    {"axis", "0"},
                                                                                    {"metadata", "f32"},
                                                                                    {"normalize", "sinq"},
                                                                                    {"damping", "0.02"},
                                                                                    {"zero-point", "integer"},
                                                                                    {"token-weights", "gradient"},
                                                                                    {"shrinkage", "0.1"},
                                                                                    {"correction", "0.5"},
                                                                                    {"sweeps", "2"},
                                                                                    {"column-order", "diagonal"}}) {
    const QuantizeOptions options = stated_options(request({{name, value}}));
    EXPECT_NE(section_key(options, "quantize") + section_key(options, "calibration"), usual) << name;
  }
}

TEST(Tables, OfNoMethodAreTakenForTheFormatsUsual) {
  ErrorTable table;
  table.matrices.push_back(
      {.name = "m", .layer = "0", .module = "m", .params = 4096, .schemes = {{"b4g64", 2304, 1.0}}});
  EXPECT_EQ(resolve(table, request({{"format", "mlx"}})).quantize.metadata, Metadata::f16_bias);
  table.method = {"mse", "none", "1", "bf16-bias"};
  EXPECT_EQ(resolve(table, request({{"format", "mlx"}})).quantize.metadata, Metadata::bf16_bias);
  table.matrices[0].rows = table.matrices[0].cols = 64;
  expect_error(ErrorCode::usage, "gives 'm' 2304 bytes in b4g64, not 2192; expected a table that was measured", [&] {
    resolve(table, request({{"format", "compressed-tensors"}}));
  });
}

TEST(Tables, MethodsAreTheirs) {
  ErrorTable table;
  table.matrices.push_back(
      {.name = "m", .layer = "0", .module = "m", .params = 4096, .schemes = {{"b4g64", 2200, 1.0}}});
  EXPECT_EQ(resolve(table, {}).objective, Objective::rel);
  EXPECT_EQ(resolve(table, {}).quantize.fit, Fit::mse);
  EXPECT_EQ(resolve(table, {}).quantize.normalize, Normalize::none) << "no shape, so no column scales";
  table.matrices[0].sensitivity = 1;
  EXPECT_EQ(resolve(table, {}).objective, Objective::kl);
  EXPECT_EQ(resolve(table, {}).quantize.fit, Fit::gptq);
  table.method = {"awq", "none", "1", "f16"};
  const Method method = resolve(table, {});
  EXPECT_EQ(method.quantize.fit, Fit::awq);
  EXPECT_EQ(method.quantize.metadata, Metadata::f16);
  EXPECT_EQ(table_method(method.quantize), table.method);
  expect_error(ErrorCode::usage, "metadata: q8 for an error table of f16", [&] {
    resolve(table, request({{"metadata", "q8"}}));
  });
  expect_error(ErrorCode::usage, "fit: rtn for an error table of awq", [&] {
    resolve(table, request({{"fit", "sinq"}}));
  });
  EXPECT_NO_THROW(resolve(table, request({{"fit", "awq"}, {"axis", "1"}})));
}

}  // namespace
}  // namespace mxq
