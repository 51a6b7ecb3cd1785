#include "format/onnx.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <unordered_set>

#include "format/protobuf.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

// Numbers of fields in onnx.proto.
namespace model_field {
enum { ir_version = 1, producer_name, producer_version, domain, model_version, doc, graph, opset = 8, metadata = 14 };
}
namespace graph_field {
enum { node = 1, name, initializer = 5, doc = 10, input, output };
}
namespace node_field {
enum { input = 1, output, name, op, attribute, doc, domain };
}
namespace attribute_field {
enum { name = 1, f, i, s, ints = 8, doc = 13, type = 20 };
}
namespace tensor_field {
enum { dims = 1, type, name = 8, raw, doc = 12, external, location };
}
namespace value_field {
enum { name = 1, type, doc };
}
namespace type_field {
enum { tensor = 1 };
enum { element = 1, shape };  // of a tensor
enum { dim = 1 };             // of a shape
enum { number = 1, text };    // of a dimension
}  // namespace type_field
namespace pair_field {
enum { key = 1, value };
}

enum AttributeType { kFloat = 1, kInt = 2, kString = 3, kInts = 7 };
constexpr int64_t kExternal = 1;  // TensorProto.DataLocation
constexpr const char *kFile = "location", *kOffset = "offset", *kLength = "length";

ProtobufWriter pair(const std::string& key, const std::string& value) {
  ProtobufWriter out;
  out.text(pair_field::key, key);
  out.text(pair_field::value, value);
  return out;
}

ProtobufWriter print(const OnnxTensor& tensor) {
  ProtobufWriter out;
  for (const int64_t extent : tensor.shape) out.varint(tensor_field::dims, extent);
  out.varint(tensor_field::type, static_cast<int64_t>(tensor.type));
  out.text(tensor_field::name, tensor.name);
  if (const auto* raw = std::get_if<std::string>(&tensor.data)) {
    out.text(tensor_field::raw, *raw);
    return out;
  }
  const auto& place = std::get<OnnxTensor::Place>(tensor.data);
  out.message(tensor_field::external, pair(kFile, place.file));
  out.message(tensor_field::external, pair(kOffset, std::to_string(place.offset)));
  out.message(tensor_field::external, pair(kLength, std::to_string(place.bytes)));
  out.varint(tensor_field::location, kExternal);
  return out;
}

ProtobufWriter print(const OnnxAttribute& attribute) {
  ProtobufWriter out;
  out.text(attribute_field::name, attribute.name);
  int64_t type = kInts;
  if (const auto* number = std::get_if<int64_t>(&attribute.value)) {
    out.varint(attribute_field::i, *number);
    type = kInt;
  } else if (const auto* real = std::get_if<float>(&attribute.value)) {
    out.f32(attribute_field::f, *real);
    type = kFloat;
  } else if (const auto* text = std::get_if<std::string>(&attribute.value)) {
    out.text(attribute_field::s, *text);
    type = kString;
  } else {
    for (const int64_t value : std::get<std::vector<int64_t>>(attribute.value)) {
      out.varint(attribute_field::ints, value);
    }
  }
  out.varint(attribute_field::type, type);
  return out;
}

ProtobufWriter print(const OnnxNode& node) {
  ProtobufWriter out;
  for (const auto& name : node.inputs) out.text(node_field::input, name);
  for (const auto& name : node.outputs) out.text(node_field::output, name);
  out.text(node_field::name, node.name);
  out.text(node_field::op, node.op);
  for (const auto& attribute : node.attributes) out.message(node_field::attribute, print(attribute));
  if (!node.domain.empty()) out.text(node_field::domain, node.domain);
  return out;
}

ProtobufWriter print(const OnnxValue& value) {
  ProtobufWriter shape, tensor, type, out;
  for (const auto& extent : value.shape) {
    ProtobufWriter dim;
    if (const auto* number = std::get_if<int64_t>(&extent)) {
      dim.varint(type_field::number, *number);
    } else {
      dim.text(type_field::text, std::get<std::string>(extent));
    }
    shape.message(type_field::dim, dim);
  }
  tensor.varint(type_field::element, static_cast<int64_t>(value.type));
  tensor.message(type_field::shape, shape);
  type.message(type_field::tensor, tensor);
  out.text(value_field::name, value.name);
  out.message(value_field::type, type);
  return out;
}

/// Parses one file.
class Parser {
 public:
  explicit Parser(const std::string& source) : operation_("read " + source) {}

  OnnxModel model(std::span<const std::byte> bytes) const {
    OnnxModel model;
    for (ProtobufReader in(bytes, operation_, "the model"); in.next();) {
      switch (in.field()) {
        case model_field::ir_version:
          model.ir_version = in.varint();
          break;
        case model_field::producer_name:
          model.producer = in.text();
          break;
        case model_field::producer_version:
          model.producer_version = in.text();
          break;
        case model_field::graph:
          graph(in.bytes(), model);
          break;
        case model_field::opset:
          opset(in.bytes(), model);
          break;
        case model_field::metadata: {
          const auto [key, value] = pair(in.bytes());
          model.metadata[key] = value;
          break;
        }
        case model_field::domain:
        case model_field::model_version:
        case model_field::doc:
          break;
        default:
          in.refuse_field();
      }
    }
    return model;
  }

 private:
  [[noreturn]] void fail(std::string given, std::string allowed) const {
    throw Error(ErrorCode::invalid_file, operation_, std::move(given), std::move(allowed));
  }

  std::pair<std::string, std::string> pair(std::span<const std::byte> bytes) const {
    std::pair<std::string, std::string> result;
    for (ProtobufReader in(bytes, operation_, "an entry"); in.next();) {
      if (in.field() == pair_field::key) {
        result.first = in.text();
      } else if (in.field() == pair_field::value) {
        result.second = in.text();
      } else {
        in.refuse_field();
      }
    }
    return result;
  }

  void opset(std::span<const std::byte> bytes, OnnxModel& model) const {
    std::string domain;
    int64_t version = 0;
    for (ProtobufReader in(bytes, operation_, "a set of operators"); in.next();) {
      if (in.field() == 1) {
        domain = in.text();
      } else if (in.field() == 2) {
        version = in.varint();
      } else {
        in.refuse_field();
      }
    }
    model.opsets[domain] = version;
  }

  void graph(std::span<const std::byte> bytes, OnnxModel& model) const {
    std::unordered_set<std::string> names;
    for (ProtobufReader in(bytes, operation_, "the graph"); in.next();) {
      switch (in.field()) {
        case graph_field::node:
          model.nodes.push_back(node(in.bytes()));
          break;
        case graph_field::name:
          model.graph_name = in.text();
          break;
        case graph_field::initializer:
          model.initializers.push_back(tensor(in.bytes()));
          if (!names.insert(model.initializers.back().name).second) {
            fail(fmt::format("initializer {} is there twice", in_quotes(model.initializers.back().name)),
                 "each name once");
          }
          break;
        case graph_field::input:
          model.inputs.push_back(value(in.bytes()));
          break;
        case graph_field::output:
          model.outputs.push_back(value(in.bytes()));
          break;
        case graph_field::doc:
          break;
        default:
          in.refuse_field();
      }
    }
  }

  OnnxNode node(std::span<const std::byte> bytes) const {
    OnnxNode node;
    for (ProtobufReader in(bytes, operation_, "a node"); in.next();) {
      switch (in.field()) {
        case node_field::input:
          node.inputs.emplace_back(in.text());
          break;
        case node_field::output:
          node.outputs.emplace_back(in.text());
          break;
        case node_field::name:
          node.name = in.text();
          break;
        case node_field::op:
          node.op = in.text();
          break;
        case node_field::attribute:
          node.attributes.push_back(attribute(in.bytes()));
          break;
        case node_field::domain:
          node.domain = in.text();
          break;
        case node_field::doc:
          break;
        default:
          in.refuse_field();
      }
    }
    return node;
  }

  OnnxAttribute attribute(std::span<const std::byte> bytes) const {
    OnnxAttribute attribute;
    int64_t type = 0, number = 0;
    float real = 0;
    std::string text;
    std::vector<int64_t> numbers;
    for (ProtobufReader in(bytes, operation_, "an attribute"); in.next();) {
      switch (in.field()) {
        case attribute_field::name:
          attribute.name = in.text();
          break;
        case attribute_field::f:
          real = in.f32();
          break;
        case attribute_field::i:
          number = in.varint();
          break;
        case attribute_field::s:
          text = in.text();
          break;
        case attribute_field::ints:
          std::ranges::copy(in.varints(), std::back_inserter(numbers));
          break;
        case attribute_field::type:
          type = in.varint();
          break;
        case attribute_field::doc:
          break;
        default:
          in.refuse_field();
      }
    }
    if (type == kFloat) {
      attribute.value = real;
    } else if (type == kInt) {
      attribute.value = number;
    } else if (type == kString) {
      attribute.value = std::move(text);
    } else if (type == kInts) {
      attribute.value = std::move(numbers);
    } else {
      throw Error(ErrorCode::unsupported, operation_,
                  fmt::format("attribute {} of the type {}", in_quotes(attribute.name), type),
                  "a number, a text or whole numbers");
    }
    return attribute;
  }

  OnnxType type(int64_t number) const {
    for (const OnnxType known :
         {OnnxType::f32, OnnxType::u8, OnnxType::i32, OnnxType::i64, OnnxType::f16, OnnxType::bf16}) {
      if (static_cast<int64_t>(known) == number) return known;
    }
    throw Error(ErrorCode::unsupported, operation_, fmt::format("elements of the type {}", number),
                "1 (float), 2 (uint8), 6 (int32), 7 (int64), 10 (float16) or 16 (bfloat16)");
  }

  OnnxTensor tensor(std::span<const std::byte> bytes) const {
    OnnxTensor tensor;
    int64_t element = 0, location = 0;
    std::string raw;
    std::map<std::string, std::string> external;
    for (ProtobufReader in(bytes, operation_, "an initializer"); in.next();) {
      switch (in.field()) {
        case tensor_field::dims:
          std::ranges::copy(in.varints(), std::back_inserter(tensor.shape));
          break;
        case tensor_field::type:
          element = in.varint();
          break;
        case tensor_field::name:
          tensor.name = in.text();
          break;
        case tensor_field::raw:
          raw = in.text();
          break;
        case tensor_field::external:
          external.insert(pair(in.bytes()));
          break;
        case tensor_field::location:
          location = in.varint();
          break;
        case tensor_field::doc:
          break;
        default:
          in.refuse_field();
      }
    }
    tensor.type = type(element);
    const std::string name = in_quotes(tensor.name);
    int64_t wanted = 0;
    try {
      wanted = tensor.bytes();
    } catch (const Error&) {
      fail(fmt::format("{} has the shape {}", name, tensor.shape), "extents from 0 on whose product fits 63 bits");
    }
    int64_t found = std::ssize(raw);
    if (location == kExternal) {
      const auto number = [&](const char* key) {
        const auto entry = external.find(key);
        const auto value = entry == external.end() ? std::nullopt : parse_int(entry->second);
        if (!value || *value < 0) fail(fmt::format("{} has no {}", name, key), "a number from 0 on");
        return *value;
      };
      OnnxTensor::Place place{external[kFile], number(kOffset), number(kLength)};
      if (external.size() != 3)
        fail(fmt::format("{} lies elsewhere by other words", name), "a file, offset and length");
      found = place.bytes;
      tensor.data = std::move(place);
    } else {
      tensor.data = std::move(raw);
    }
    if (found != wanted) {
      fail(fmt::format("{} has {} bytes", name, found), fmt::format("{} by its shape and type", wanted));
    }
    return tensor;
  }

  OnnxValue value(std::span<const std::byte> bytes) const {
    OnnxValue value;
    for (ProtobufReader in(bytes, operation_, "an input or output"); in.next();) {
      if (in.field() == value_field::name) {
        value.name = in.text();
      } else if (in.field() == value_field::type) {
        for (ProtobufReader of(in.bytes(), operation_, "a type"); of.next();) {
          if (of.field() != type_field::tensor) of.refuse_field();
          for (ProtobufReader tensor(of.bytes(), operation_, "a tensor's type"); tensor.next();) {
            if (tensor.field() == type_field::element) {
              value.type = type(tensor.varint());
            } else if (tensor.field() == type_field::shape) {
              shape(tensor.bytes(), value);
            } else {
              tensor.refuse_field();
            }
          }
        }
      } else if (in.field() != value_field::doc) {
        in.refuse_field();
      }
    }
    return value;
  }

  void shape(std::span<const std::byte> bytes, OnnxValue& value) const {
    for (ProtobufReader in(bytes, operation_, "a shape"); in.next();) {
      if (in.field() != type_field::dim) in.refuse_field();
      value.shape.emplace_back(std::string());
      for (ProtobufReader dim(in.bytes(), operation_, "an extent"); dim.next();) {
        if (dim.field() == type_field::number) {
          value.shape.back() = dim.varint();
        } else if (dim.field() == type_field::text) {
          value.shape.back() = std::string(dim.text());
        } else {
          dim.refuse_field();
        }
      }
    }
  }

  std::string operation_;
};

}  // namespace

OnnxType onnx_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return OnnxType::f32;
    case DType::f16:
      return OnnxType::f16;
    case DType::bf16:
      return OnnxType::bf16;
    case DType::u8:
      return OnnxType::u8;
    default:
      throw Error(ErrorCode::unsupported, "write ONNX", fmt::format("a tensor of {}", dtype_name(dtype)),
                  "F32, F16, BF16 or U8");
  }
}

int64_t onnx_type_bytes(OnnxType type) {
  switch (type) {
    case OnnxType::u8:
      return 1;
    case OnnxType::f16:
    case OnnxType::bf16:
      return 2;
    case OnnxType::f32:
    case OnnxType::i32:
      return 4;
    case OnnxType::i64:
      return 8;
  }
  return 0;
}

int64_t OnnxTensor::bytes() const {
  int64_t count = onnx_type_bytes(type);
  for (const int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) {
      throw Error(ErrorCode::usage, "ONNX", fmt::format("{} has the shape {}", in_quotes(name), shape),
                  "extents from 0 on whose product fits 63 bits");
    }
  }
  return count;
}

const OnnxAttribute* OnnxNode::find(std::string_view attribute) const {
  const auto found =
      std::find_if(attributes.begin(), attributes.end(), [&](const auto& one) { return one.name == attribute; });
  return found == attributes.end() ? nullptr : &*found;
}

std::string print_onnx(const OnnxModel& model) {
  ProtobufWriter graph;
  for (const auto& node : model.nodes) graph.message(graph_field::node, print(node));
  graph.text(graph_field::name, model.graph_name);
  for (const auto& tensor : model.initializers) graph.message(graph_field::initializer, print(tensor));
  for (const auto& value : model.inputs) graph.message(graph_field::input, print(value));
  for (const auto& value : model.outputs) graph.message(graph_field::output, print(value));
  ProtobufWriter out;
  out.varint(model_field::ir_version, model.ir_version);
  out.text(model_field::producer_name, model.producer);
  out.text(model_field::producer_version, model.producer_version);
  out.message(model_field::graph, graph);
  for (const auto& [domain, version] : model.opsets) {
    ProtobufWriter opset;
    opset.text(1, domain);
    opset.varint(2, version);
    out.message(model_field::opset, opset);
  }
  for (const auto& [key, value] : model.metadata) out.message(model_field::metadata, pair(key, value));
  return out.bytes();
}

OnnxModel parse_onnx(std::span<const std::byte> bytes, const std::string& source) {
  return Parser(source).model(bytes);
}

}  // namespace mxq
