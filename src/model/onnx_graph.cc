// Operators as onnxruntime 1.32 describes them (OperatorKernels.md, ContribOperators.md), read from its schemas.
#include "model/onnx_graph.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "model/arch/architecture.h"
#include "model/layer_tensors.h"
#include "model/rope.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr int64_t kIrVersion = 10, kOpset = 21, kMicrosoftOpset = 1;
constexpr const char* kMicrosoft = "com.microsoft";
/// MatMulNBits may round its inputs to 8 bits, in the blocks of the weights: the only way for which onnxruntime has
/// kernels on the CPU at 2 and 8 bits (docs/decisions/0026).
constexpr int64_t kAccuracyLevel = 4;

template <typename Value>
std::string bytes_of(const std::vector<Value>& values) {
  std::string bytes(values.size() * sizeof(Value), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

class Builder {
 public:
  Builder(const ModelConfig& config, const std::vector<OnnxWeight>& weights, const std::string& operation)
      : operation_(operation), config_(config), architecture_(*find_architecture(config.architecture)) {
    for (const OnnxWeight& weight : weights) {
      weights_.emplace(weight.name, &weight);
      for (OnnxTensor& tensor : onnx_initializers(weight)) model_.initializers.push_back(std::move(tensor));
    }
  }

  OnnxModel build() {
    model_.ir_version = kIrVersion;
    model_.producer = kOnnxProducer;
    model_.producer_version = MXQ_VERSION;
    model_.opsets = {{"", kOpset}, {kMicrosoft, kMicrosoftOpset}};
    model_.metadata = {{kOnnxGraphKey, kOnnxGraphVersion}};
    model_.graph_name = config_.architecture;
    model_.inputs = {{"input_ids", OnnxType::i64, {"batch_size", "sequence_length"}},
                     {"attention_mask", OnnxType::i64, {"batch_size", "total_sequence_length"}}};
    model_.outputs = {{"logits", OnnxType::f32, {"batch_size", "sequence_length", config_.vocab_size}}};
    count_tokens();
    std::string x = look_up();
    for (int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) x = run_layer(layer, x);
    put_out(norm("norm", x, "model.norm"));
    return std::move(model_);
  }

 private:
  using Names = std::vector<std::string>;
  using Attributes = std::vector<OnnxAttribute>;

  /// A node with one output, which has its name.
  std::string add(const char* op, std::string name, Names inputs, Attributes attributes = {}, const char* domain = "") {
    add_to(op, {name}, std::move(inputs), std::move(attributes), domain);
    return name;
  }
  void add_to(const char* op, Names outputs, Names inputs, Attributes attributes, const char* domain = "") {
    while (!inputs.empty() && inputs.back().empty()) inputs.pop_back();
    std::string name = outputs.front();
    model_.nodes.push_back({op, domain, std::move(inputs), std::move(outputs), std::move(attributes), std::move(name)});
  }

  // Numbers of the graph itself, each once.
  std::string whole(const std::vector<int64_t>& values, bool scalar = false) {
    std::string name = fmt::format("whole.{}{}", fmt::join(values, "_"), scalar ? "" : ".list");
    constant({name, OnnxType::i64, {}, bytes_of(values)}, std::ssize(values), scalar);
    return name;
  }
  std::string real(double value) {
    const auto rounded = static_cast<float>(value);
    std::string name = fmt::format("real.{}", rounded);
    constant({name, OnnxType::f32, {}, bytes_of(std::vector{rounded})}, 1, true);
    return name;
  }
  void constant(OnnxTensor tensor, int64_t count, bool scalar) {
    if (!constants_.insert(tensor.name).second) return;
    if (!scalar) tensor.shape = {count};
    model_.initializers.push_back(std::move(tensor));
  }

  const OnnxWeight& weight(const std::string& name) const {
    const auto found = weights_.find(name);
    if (found == weights_.end()) {
      throw Error(ErrorCode::not_found, operation_, fmt::format("tensor '{}' is missing", name));
    }
    return *found->second;
  }
  /// A tensor of the model in F32, which is what everything is computed in. onnxruntime casts it once, when it loads.
  std::string floats(const std::string& name, DType dtype) {
    if (dtype == DType::f32) return name;
    if (!casts_.insert(name).second) return name + ".f32";
    return add("Cast", name + ".f32", {name}, {{"to", static_cast<int64_t>(OnnxType::f32)}});
  }
  std::string plain(const std::string& name) { return floats(name, weight(name).dtype); }

  /// Numbers of tokens, and at which positions they are.
  void count_tokens() {
    const std::string lengths = add("ReduceSum", "lengths", {"attention_mask", whole({1})}, {{"keepdims", int64_t{0}}});
    const auto to_i32 = [&](const char* name, const std::string& of) {
      return add("Cast", name, {of}, {{"to", static_cast<int64_t>(OnnxType::i32)}});
    };
    last_ = to_i32("lengths.last", add("Sub", "lengths.less_one", {lengths, whole({1}, true)}));
    total_ =
        to_i32("total", add("Gather", "total.i64", {add("Shape", "mask.shape", {"attention_mask"}), whole({1}, true)}));
    const std::string shape = add("Shape", "ids.shape", {"input_ids"});
    const std::string count = add("Gather", "count", {shape, whole({1}, true)});
    const std::string zero = whole({0}, true), one = whole({1}, true);
    // A first prompt may be padded on the right, so that its tokens are fewer than the columns.
    const std::string past = add("Max", "past", {add("Sub", "past.or_less", {lengths, count}), zero});
    const std::string positions =
        add("Add", "positions",
            {add("Unsqueeze", "past.column", {past, whole({1})}), add("Range", "columns", {zero, count, one})});
    const std::string column = add("Reshape", "positions.column", {positions, whole({-1, 1})});
    positions_ = add("Cast", "positions.f32", {column}, {{"to", static_cast<int64_t>(OnnxType::f32)}});
    // RotaryEmbedding looks the angles up: those of the tokens, one after the other.
    const std::string tokens = add("ReduceProd", "tokens", {shape}, {{"keepdims", int64_t{0}}});
    places_ = add("Reshape", "places", {add("Range", "places.row", {zero, tokens, one}), shape});
  }

  struct Rope {
    std::string cosines, sines;
  };
  /// Of layers with a window, or of all others.
  const Rope& rope_of(int64_t layer) {
    const bool window = config_.window_rope && config_.window_of(layer) > 0;
    if (const auto found = ropes_.find(window); found != ropes_.end()) return found->second;
    RopeShape shape = config_.rope_shape();
    if (window) shape.settings = *config_.window_rope;
    const RopeAngles angles = rope_angles(shape, 1);
    const std::string name = window ? "window_rope" : "rope";
    const std::vector<float> frequencies(angles.frequencies.begin(), angles.frequencies.end());
    model_.initializers.push_back(
        {name + ".frequencies", OnnxType::f32, {1, std::ssize(frequencies)}, bytes_of(frequencies)});
    const std::string turns = add("Mul", name + ".angles", {positions_, name + ".frequencies"});
    Rope rope{add("Cos", name + ".cosines", {turns}), add("Sin", name + ".sines", {turns})};
    if (angles.scale != 1) {
      rope.cosines = add("Mul", name + ".cosines.scaled", {rope.cosines, real(angles.scale)});
      rope.sines = add("Mul", name + ".sines.scaled", {rope.sines, real(angles.scale)});
    }
    return ropes_.emplace(window, std::move(rope)).first->second;
  }

  std::string norm(const std::string& name, const std::string& x, const std::string& module) {
    std::string scale = plain(module + ".weight");
    if (architecture_.norm == Norm::rms_plus_one) scale = add("Add", module + ".weight.plus_one", {scale, real(1)});
    const auto eps = static_cast<float>(config_.norm_eps);
    const Attributes attributes{{"axis", int64_t{-1}}, {"epsilon", eps}};
    const char* const op = architecture_.norm == Norm::layer ? "LayerNormalization" : "SimplifiedLayerNormalization";
    return add(op, name, {x, scale}, attributes);
  }

  /// x W^T, and the module's bias where `bias` is true.
  std::string linear(const std::string& name, const std::string& x, const std::string& module, bool bias = false) {
    const OnnxWeight& matrix = weight(module + ".weight");
    const std::string added = bias ? plain(module + ".bias") : "";
    if (matrix.scheme) {
      const auto [codes, scales] = parts(matrix);
      return add("MatMulNBits", name, {x, codes, scales, "", "", added},
                 {{"K", matrix.shape[1]},
                  {"N", matrix.shape[0]},
                  {kOnnxAccuracy, kAccuracyLevel},
                  {"bits", int64_t{matrix.scheme->bits}},
                  {"block_size", int64_t{matrix.scheme->group}}},
                 kMicrosoft);
    }
    const std::string turned =
        add("Transpose", name + ".weight", {plain(matrix.name)}, {{"perm", std::vector<int64_t>{1, 0}}});
    if (!bias) return add("MatMul", name, {x, turned});
    return add("Add", name, {add("MatMul", name + ".product", {x, turned}), added});
  }
  /// Codes, and scales in F32.
  std::pair<std::string, std::string> parts(const OnnxWeight& matrix) {
    return {matrix.name + std::string(kOnnxCodes), floats(matrix.name + std::string(kOnnxScales), matrix.dtype)};
  }

  std::string look_up() {
    const OnnxWeight& matrix = weight("model.embed_tokens.weight");
    std::string x;
    if (matrix.scheme) {
      // Codes have three dimensions for MatMulNBits, which may read the same ones.
      const auto [codes, scales] = parts(matrix);
      const std::string shaped = add("Reshape", "embedding.scales",
                                     {scales, whole({matrix.shape[0], matrix.shape[1] / matrix.scheme->group, 1})});
      const std::string rows = add("GatherBlockQuantized", "embedding.rows", {codes, "input_ids", shaped},
                                   {{"bits", int64_t{matrix.scheme->bits}},
                                    {"block_size", int64_t{matrix.scheme->group}},
                                    {"gather_axis", int64_t{0}},
                                    {"quantize_axis", int64_t{2}}},
                                   kMicrosoft);
      x = add("Reshape", "embedding", {rows, whole({0, 0, matrix.shape[1]})});
    } else {
      x = add("Gather", "embedding.rows", {matrix.name, "input_ids"}, {{"axis", int64_t{0}}});
      if (matrix.dtype != DType::f32) {
        x = add("Cast", "embedding", {x}, {{"to", static_cast<int64_t>(OnnxType::f32)}});
      }
    }
    return scaled("embedding.scaled", x, config_.embedding_scale);
  }

  std::string scaled(const std::string& name, const std::string& x, double by) {
    return by == 1 ? x : add("Mul", name, {x, real(by)});
  }

  /// One layer's names.
  struct Layer {
    std::string prefix;  // of the graph's: "layers.0."
    std::map<LayerPart, std::string> modules;

    bool has(LayerPart part) const { return modules.contains(part); }
    const std::string& module(LayerPart part) const { return modules.at(part); }
  };

  std::string linear(const Layer& layer, const char* name, const std::string& x, LayerPart part) {
    return linear(layer.prefix + name, x, layer.module(part), config_.has_bias(part));
  }
  /// x itself where the layer has no such norm.
  std::string norm(const Layer& layer, const char* name, const std::string& x, LayerPart part) {
    return layer.has(part) ? norm(layer.prefix + name, x, layer.module(part)) : x;
  }
  /// What half a layer adds to the residual stream.
  std::string finish(const Layer& layer, const char* name, const std::string& x, LayerPart part) {
    const std::string normed = norm(layer, (std::string(name) + ".norm").c_str(), x, part);
    return scaled(layer.prefix + name + ".scaled", normed, config_.residual_scale);
  }

  std::string run_layer(int64_t index, const std::string& residual) {
    Layer layer{fmt::format("layers.{}.", index), {}};
    for (const NamedTensor& tensor : layer_tensors(config_, index)) {
      layer.modules[tensor.tensor->part] = fmt::format("model.layers.{}.{}", index, tensor.hf);
    }
    const std::string input = norm(layer, "input", residual, LayerPart::input_norm);
    const std::string attended = finish(layer, "attended", attend(index, layer, input), LayerPart::attention_norm);
    std::string x = add("Add", layer.prefix + "middle", {residual, attended});
    const std::string fed = architecture_.parallel ? input : norm(layer, "fed", x, LayerPart::feed_forward_norm);
    return add("Add", layer.prefix + "output",
               {x, finish(layer, "forwarded", feed_forward(layer, fed), LayerPart::output_norm)});
  }

  std::string attend(int64_t index, const Layer& layer, const std::string& x) {
    const int64_t heads = config_.num_attention_heads, kv_heads = config_.num_key_value_heads, width = config_.head_dim;
    std::string q, k, v;
    if (layer.has(LayerPart::qkv)) {
      const std::string all = linear(layer, "qkv", x, LayerPart::qkv);
      q = layer.prefix + "q", k = layer.prefix + "k", v = layer.prefix + "v";
      add_to("Split", {q, k, v}, {all, whole({heads * width, kv_heads * width, kv_heads * width})},
             {{"axis", int64_t{-1}}});
    } else {
      q = linear(layer, "q", x, LayerPart::q);
      k = linear(layer, "k", x, LayerPart::k);
      v = linear(layer, "v", x, LayerPart::v);
    }
    q = rotated(index, layer, "q", q, heads, LayerPart::q_norm);
    k = rotated(index, layer, "k", k, kv_heads, LayerPart::k_norm);
    const auto cache = [&](const char* of, const char* part, const char* length) {
      OnnxValue value{fmt::format("{}.{}.{}", of, index, part), OnnxType::f32, {"batch_size", kv_heads, length, width}};
      return value;
    };
    Names past, present;
    for (const char* part : {"key", "value"}) {
      model_.inputs.push_back(cache("past_key_values", part, "past_sequence_length"));
      model_.outputs.push_back(cache("present", part, "total_sequence_length"));
      past.push_back(model_.inputs.back().name);
      present.push_back(model_.outputs.back().name);
    }
    const int64_t window = config_.window_of(index);
    const std::string mixed = layer.prefix + "heads";
    add_to("GroupQueryAttention", {mixed, present[0], present[1]}, {q, k, v, past[0], past[1], last_, total_},
           {{"kv_num_heads", kv_heads},
            {"local_window_size", window > 0 ? window : int64_t{-1}},
            {"num_heads", heads},
            {"scale", static_cast<float>(config_.score_scale.value_or(config_.usual_score_scale()))},
            {"softcap", static_cast<float>(config_.score_cap)}},
           kMicrosoft);
    return linear(layer, "o", mixed, LayerPart::o);
  }

  /// Queries or keys, normed where the layer has norms of them.
  std::string rotated(int64_t index, const Layer& layer, const std::string& name, std::string x, int64_t heads,
                      LayerPart part) {
    const std::string prefix = layer.prefix + name;
    const int64_t width = config_.head_dim;
    if (layer.has(part)) {
      const std::string& module = layer.module(part);
      // Of each head, or of all together.
      const bool by_head = weight(module + ".weight").shape[0] == width && heads != 1;
      if (by_head) x = add("Reshape", prefix + ".split", {x, whole({0, 0, heads, width})});
      x = norm(prefix + ".normed", x, module);
      if (by_head) x = add("Reshape", prefix + ".joined", {x, whole({0, 0, heads * width})});
    }
    if (!config_.rotates(index)) return x;
    const Rope& rope = rope_of(index);
    return add("RotaryEmbedding", prefix + ".rotated", {x, places_, rope.cosines, rope.sines},
               {{"interleaved", int64_t{architecture_.rotates_neighbours}},
                {"num_heads", heads},
                {"rotary_embedding_dim", config_.rotary_dim()}},
               kMicrosoft);
  }

  std::string feed_forward(const Layer& layer, const std::string& x) {
    std::string gate, up;
    if (layer.has(LayerPart::gate_up)) {
      const std::string both = linear(layer, "gate_up", x, LayerPart::gate_up);
      gate = layer.prefix + "gate", up = layer.prefix + "up";
      add_to("Split", {gate, up}, {both, whole({config_.intermediate_size, config_.intermediate_size})},
             {{"axis", int64_t{-1}}});
    } else {
      gate = linear(layer, "gate", x, LayerPart::gate);
      up = linear(layer, "up", x, LayerPart::up);
    }
    const std::string name = layer.prefix + "gate.active";
    if (config_.activation == Activation::gelu) {
      gate = add("Gelu", name, {gate}, {{"approximate", std::string("tanh")}});
    } else {
      gate = add("Mul", name, {gate, add("Sigmoid", layer.prefix + "gate.open", {gate})});
    }
    return linear(layer, "down", add("Mul", layer.prefix + "gated", {gate, up}), LayerPart::down);
  }

  void put_out(const std::string& x) {
    const std::string module = config_.tie_word_embeddings ? "model.embed_tokens" : "lm_head";
    std::string y = scaled("logits.scaled", linear("logits.raw", x, module), config_.logit_scale);
    if (config_.logit_cap > 0) {
      const std::string cap = real(config_.logit_cap);
      y = add("Mul", "logits.capped", {add("Tanh", "logits.tanh", {add("Div", "logits.divided", {y, cap})}), cap});
    }
    add("Identity", "logits", {y});
  }

  const std::string& operation_;
  const ModelConfig& config_;
  const Architecture& architecture_;
  std::map<std::string, const OnnxWeight*, std::less<>> weights_;
  OnnxModel model_;
  std::set<std::string, std::less<>> constants_, casts_;
  std::map<bool, Rope> ropes_;
  std::string last_, total_, positions_, places_;  // names of values: see count_tokens()
};

}  // namespace

bool is_onnx_scheme(const Scheme& scheme) {
  if (scheme.family != Scheme().family) return false;
  const bool two = scheme.bits == 2, known = two || scheme.bits == 4 || scheme.bits == 8;
  const int least = two ? 32 : 16, most = two ? 128 : 256;
  return known && scheme.group >= least && scheme.group <= most && (scheme.group & (scheme.group - 1)) == 0;
}

const char* onnx_schemes() {
  return "b2 with g32 to g128, b4 or b8 with g16 to g256";
}

std::vector<OnnxTensor> onnx_initializers(const OnnxWeight& weight) {
  if (!weight.scheme) return {{weight.name, onnx_type(weight.dtype), weight.shape}};
  const int64_t group = weight.scheme->group, groups = weight.shape.at(1) / group;
  constexpr int64_t kByte = 8;
  return {{weight.name + std::string(kOnnxCodes),
           OnnxType::u8,
           {weight.shape[0], groups, group * weight.scheme->bits / kByte}},
          {weight.name + std::string(kOnnxScales), onnx_type(weight.dtype), {weight.shape[0], groups}}};
}

void check_onnx_config(const ModelConfig& config, const std::string& operation) {
  const auto refuse = [&](std::string given, std::string allowed) {
    throw Error(ErrorCode::unsupported, operation, std::move(given), std::move(allowed));
  };
  const Architecture* const architecture = find_architecture(config.architecture);
  if (architecture == nullptr || config.mixture.experts > 0 || config.linear_layers() > 0 ||
      architecture->gated_queries || config.activation == Activation::clamped) {
    refuse(fmt::format("a model of the type '{}'", config.architecture),
           "one whose layers have attention and one feed-forward network");
  }
  if (!config.unsupported.empty()) {
    const Unsupported& first = config.unsupported.front();
    refuse(fmt::format("{} in a model of the type '{}'", first.given, config.architecture), first.supported);
  }
  for (const auto& rope : {std::optional(config.rope), config.window_rope}) {
    if (!rope || !rope->scaling) continue;
    if (const std::string& type = rope->scaling->type; type == "dynamic" || type == "longrope") {
      refuse(fmt::format("'rope_scaling' of type '{}', whose angles depend on the length of the text", type),
             "linear, llama3 or yarn");
    }
  }
}

OnnxModel onnx_graph(const ModelConfig& config, const std::vector<OnnxWeight>& weights, const std::string& operation) {
  return Builder(config, weights, operation).build();
}

}  // namespace mxq
