// ONNX models as the package onnx writes them, and bytes that are none.
#include "format/onnx.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "expect_error.h"
#include "format/protobuf.h"

namespace mxq {
namespace {

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

// The package onnx 1.23.2 wrote it: SerializeToString() of what model() says.
const std::string kPackage = from_hex(
    "080a12036d78711a03312e303a92020a6f0a01780a000a01771201791a0179220b4d61744d756c4e426974732a090a014b18ac02"
    "a001022a0d0a03657073150000003fa001012a0f0a046d6f6465220474616e68a001032a180a047065726d4001400040ffffffff"
    "ffffffffff01a001073a0d636f6d2e6d6963726f736f6674120474696e792a1b08021007420374776f4a100100000000000000ff"
    "ffffffffffffff2a47080308c801100a4201776a1b0a086c6f636174696f6e120f6d6f64656c2e6f6e6e782e646174616a0c0a06"
    "6f6666736574120236346a0e0a066c656e67746812043132303070015a190a017812140a120801120e0a07120562617463680a03"
    "08ac0262180a017912130a110801120d0a07120562617463680a02080342040a00101542110a0d636f6d2e6d6963726f736f6674"
    "1001720e0a096d78712e6772617068120131");

OnnxModel model() {
  OnnxModel model;
  model.ir_version = 10;
  model.producer = "mxq";
  model.producer_version = "1.0";
  model.opsets = {{"", 21}, {"com.microsoft", 1}};
  model.metadata = {{"mxq.graph", "1"}};
  model.graph_name = "tiny";
  model.nodes = {
      {"MatMulNBits",
       "com.microsoft",
       {"x", "", "w"},
       {"y"},
       {{"K", int64_t{300}}, {"eps", 0.5F}, {"mode", std::string("tanh")}, {"perm", std::vector<int64_t>{1, 0, -1}}},
       "y"}};
  const int64_t numbers[] = {1, -1};
  model.initializers = {
      {"two", OnnxType::i64, {2}, std::string(reinterpret_cast<const char*>(numbers), sizeof numbers)},
      {"w", OnnxType::f16, {3, 200}, OnnxTensor::Place{"model.onnx.data", 64, 1200}}};
  model.inputs = {{"x", OnnxType::f32, {"batch", int64_t{300}}}};
  model.outputs = {{"y", OnnxType::f32, {"batch", int64_t{3}}}};
  return model;
}

OnnxModel parse(const std::string& bytes) {
  return parse_onnx(std::as_bytes(std::span(bytes)), "test");
}

TEST(Onnx, BytesAreThoseOfThePackage) {
  EXPECT_EQ(print_onnx(model()), kPackage);
  EXPECT_EQ(parse(kPackage), model());
}

TEST(Onnx, NumbersInARowAreReadToo) {
  // perm as a packed field, as proto3 would write it: field 8, 12 bytes: 1, 0, -1.
  const std::string loose = std::string("\x40\x01\x40\x00\x40", 5) + std::string(9, '\xff') + "\x01";
  const std::string packed = std::string("\x42\x0c\x01\x00", 4) + std::string(9, '\xff') + "\x01";
  const size_t at = kPackage.find(loose);
  ASSERT_NE(at, std::string::npos);
  // Lengths of what surrounds it are one less, which is one byte each: attribute, node and graph.
  ProtobufWriter attribute, node, graph, whole;
  attribute.text(1, "perm");
  std::string bytes = attribute.bytes() + packed;
  ProtobufWriter type;
  type.varint(20, 7);
  bytes += type.bytes();
  node.text(5, bytes);
  graph.message(1, node);
  whole.message(7, graph);
  EXPECT_EQ(parse(whole.bytes()).nodes.at(0).attributes.at(0), model().nodes[0].attributes[3]);
}

TEST(Onnx, WhatIsCutOffIsRefusedOrLess) {
  for (size_t length = 0; length < kPackage.size(); ++length) {
    try {
      EXPECT_NE(parse(kPackage.substr(0, length)), model()) << length;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_file) << error.what();
    }
  }
}

TEST(Onnx, WhatIsBrokenIsNamed) {
  const auto refused = [](ErrorCode code, const char* why, const std::function<void(OnnxModel&)>& change) {
    OnnxModel changed = model();
    change(changed);
    const std::string bytes = print_onnx(changed);
    expect_error(code, why, [&] { parse(bytes); });
  };
  using enum ErrorCode;
  refused(invalid_file, "initializer 'two' is there twice", [](OnnxModel& m) { m.initializers[1].name = "two"; });
  refused(invalid_file, "'two' has 16 bytes; expected 24 by", [](OnnxModel& m) { m.initializers[0].shape = {3}; });
  refused(invalid_file, "'two' has the shape [-1]", [](OnnxModel& m) { m.initializers[0].shape = {-1}; });
  refused(invalid_file, "'w' has the shape", [](OnnxModel& m) {
    m.initializers[1].shape = {int64_t{1} << 31, int64_t{1} << 31, 4};
  });
  refused(invalid_file, "'w' has 1200 bytes; expected 1206", [](OnnxModel& m) { m.initializers[1].shape = {3, 201}; });
  refused(invalid_file, "'w' has no offset; expected a number from 0",
          [](OnnxModel& m) { std::get<OnnxTensor::Place>(m.initializers[1].data).offset = -1; });
  refused(unsupported, "elements of the type 99", [](OnnxModel& m) { m.initializers[0].type = OnnxType{99}; });
}

TEST(Onnx, FieldsThatNobodyKnowsAreNamed) {
  const auto refused = [](const char* why, auto... fields) {
    // The innermost first: a text in `field` of the message that the others nest.
    std::string bytes = "x";
    for (const int field : {fields...}) {
      ProtobufWriter out;
      out.text(field, bytes);
      bytes = out.bytes();
    }
    expect_error(ErrorCode::unsupported, why, [&] { parse(bytes); });
  };
  refused("the model has the field 25", 25);            // functions
  refused("the graph has the field 15", 15, 7);         // sparse initializers
  refused("a node has the field 8", 8, 1, 7);           // overloads
  refused("an attribute has the field 6", 6, 5, 1, 7);  // subgraphs
  refused("an initializer has the field 4", 4, 5, 7);   // numbers that are no bytes
  refused("a type has the field 4", 4, 2, 11, 7);       // sequences
  const std::string group = "\x0b";                     // field 1, wire type 3
  expect_error(ErrorCode::invalid_file, "field 1 has the wire type 3", [&] { parse(group); });
  const std::string zero("\x00\x01", 2);
  expect_error(ErrorCode::invalid_file, "field 0", [&] { parse(zero); });
  const std::string endless = "\x08" + std::string(11, '\xff');
  expect_error(ErrorCode::invalid_file, "a number of more than ten bytes", [&] { parse(endless); });
  const std::string wrong = "\x0a\x01x";  // ir_version as a text
  expect_error(ErrorCode::invalid_file, "field 1 has the wire type 2", [&] { parse(wrong); });
}

}  // namespace
}  // namespace mxq
