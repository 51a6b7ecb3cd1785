// ONNX models (onnx.proto of ONNX 1.23): a graph of operators, and where the numbers lie that they work with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mxq/tensor.h"

namespace mxq {

/// TensorProto.DataType, of those that mxq writes.
enum class OnnxType : int32_t { f32 = 1, u8 = 2, i32 = 6, i64 = 7, f16 = 10, bf16 = 16 };
OnnxType onnx_type(DType dtype);
/// Bytes of an element.
int64_t onnx_type_bytes(OnnxType type);

/// Numbers of the model: its initializers.
struct OnnxTensor {
  /// In a file beside the model's.
  struct Place {
    std::string file;
    int64_t offset = 0, bytes = 0;
    bool operator==(const Place&) const = default;
  };
  std::string name;
  OnnxType type = OnnxType::f32;
  std::vector<int64_t> shape;
  std::variant<std::string, Place> data = std::string();  // the bytes, or where they are

  /// Of all elements. Throws Error(usage) for a negative extent or a size beyond 63 bits.
  int64_t bytes() const;
  bool operator==(const OnnxTensor&) const = default;
};

struct OnnxAttribute {
  std::string name;
  std::variant<int64_t, float, std::string, std::vector<int64_t>> value;
  bool operator==(const OnnxAttribute&) const = default;
};

struct OnnxNode {
  std::string op, domain;                    // domain: empty for ONNX's own operators
  std::vector<std::string> inputs, outputs;  // an input that is left out has no name
  std::vector<OnnxAttribute> attributes;
  std::string name;

  const OnnxAttribute* find(std::string_view attribute) const;
  bool operator==(const OnnxNode&) const = default;
};

/// An input or output of the whole graph; an extent is a number or has a name.
struct OnnxValue {
  std::string name;
  OnnxType type = OnnxType::f32;
  std::vector<std::variant<int64_t, std::string>> shape;
  bool operator==(const OnnxValue&) const = default;
};

struct OnnxModel {
  int64_t ir_version = 0;
  std::string producer, producer_version;
  std::map<std::string, int64_t> opsets;  // by domain
  std::map<std::string, std::string> metadata;
  std::string graph_name;
  std::vector<OnnxNode> nodes;
  std::vector<OnnxTensor> initializers;
  std::vector<OnnxValue> inputs, outputs;

  bool operator==(const OnnxModel&) const = default;
};

/// The bytes of a .onnx file; the same for the same model.
std::string print_onnx(const OnnxModel& model);

/// Throws Error(invalid_file) for bytes that are no such model: lengths beyond the end, extents whose product
/// overflows, bytes that are not as many as the elements take, a name of two initializers; Error(unsupported) for what
/// the structures above have no place for: subgraphs, functions, sparse tensors, other types, other fields.
OnnxModel parse_onnx(std::span<const std::byte> bytes, const std::string& source);

}  // namespace mxq
