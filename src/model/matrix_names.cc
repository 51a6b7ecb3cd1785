#include "model/matrix_names.h"

#include <algorithm>
#include <array>
#include <vector>

#include "mxq/text.h"

namespace mxq {

namespace {

using Parts = std::vector<std::string_view>;

constexpr std::string_view kSuffix = ".weight";

/// What stacks of layers are called; names that end in "_layers" or "_blocks" are too.
constexpr std::array<std::string_view, 5> kStacks{"layers", "layer", "h", "blocks", "block"};

/// Projections of attention and MLP, which are planned whatever their size.
constexpr std::array<std::string_view, 12> kProjections{"q_proj",       "k_proj",  "v_proj",    "o_proj",
                                                        "gate_proj",    "up_proj", "down_proj", "qkv_proj",
                                                        "gate_up_proj", "w1",      "w2",        "w3"};

constexpr std::array<std::string_view, 7> kEmbeddings{
    "embed_tokens", "embed_tokens_per_layer", "wte", "word_embeddings", "embed_in", "tok_embeddings", "shared"};

constexpr std::array<std::string_view, 3> kHeads{"lm_head", "embed_out", "output"};

/// Found in a component before the stack, they name a part that reads no text.
constexpr std::array<std::string_view, 7> kTowers{"vision", "visual", "image", "img", "audio", "speech", "video"};

/// Found in a component inside a layer, they name what is no linear layer: tables of positions.
constexpr std::array<std::string_view, 4> kTables{"embed", "relative_attention_bias", "rel_pos", "rotary"};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

template <typename Names>
bool is_one_of(std::string_view text, const Names& names) {
  return std::find(names.begin(), names.end(), text) != names.end();
}

template <typename Names>
bool contains_one_of(std::string_view text, const Names& names) {
  return std::any_of(names.begin(), names.end(), [&](std::string_view name) { return contains(text, name); });
}

Parts split_name(std::string_view name) {
  Parts parts;
  while (true) {
    const size_t dot = name.find('.');
    parts.push_back(name.substr(0, dot));
    if (dot == name.npos) return parts;
    name.remove_prefix(dot + 1);
  }
}

/// A name in its parts: what stands before the number of a layer, and the module behind it.
struct Place {
  Parts before, module;  // without ".weight"
  std::string_view layer;
  bool suffixed = false;  // the name ends in ".weight"
};

bool is_stack(std::string_view part) {
  return is_one_of(part, kStacks) || part.ends_with("_layers") || part.ends_with("_blocks");
}

Place place_of(std::string_view name) {
  Place place;
  place.suffixed = name.ends_with(kSuffix);
  if (place.suffixed) name.remove_suffix(kSuffix.size());
  Parts parts = split_name(name);
  for (size_t i = 1; i + 1 < parts.size(); ++i) {
    if (!layer_number(parts[i]) || !is_stack(parts[i - 1])) continue;
    place.layer = parts[i];
    place.module.assign(parts.begin() + static_cast<ptrdiff_t>(i) + 1, parts.end());
    parts.resize(i);
    break;
  }
  place.before = std::move(parts);
  const bool broken = std::any_of(place.module.begin(), place.module.end(), [](auto part) { return part.empty(); });
  if (broken) return {std::move(place.before), {}, {}, false};
  return place;
}

bool in_tower(const Place& place) {
  return std::any_of(place.before.begin(), place.before.end(),
                     [](std::string_view part) { return contains_one_of(part, kTowers); });
}

TensorRole outside_role(const Place& place) {
  const std::string_view last = place.before.back();
  if (is_one_of(last, kHeads)) return TensorRole::head;
  // Mamba's stands beside the layers: "backbone.embeddings".
  if (is_one_of(last, kEmbeddings) || (last == "embeddings" && place.before.size() == 2)) return TensorRole::embedding;
  if (contains(last, "norm") || contains(last, "embed") || contains(last, "conv") || last == "wpe") {
    return TensorRole::other;
  }
  return TensorRole::outside;
}

/// Of a name inside a layer, whatever the shape.
TensorRole module_role(const Parts& module) {
  const std::string_view last = module.back();
  const bool table =
      std::any_of(module.begin(), module.end(), [](std::string_view part) { return contains_one_of(part, kTables); });
  if (table || contains(last, "norm") || contains(last, "conv") || last.starts_with("ln_") || last.ends_with("bias")) {
    return TensorRole::other;
  }
  if (last == "dt_proj") return TensorRole::time_step;
  const std::string_view parent = module.size() > 1 ? module[module.size() - 2] : std::string_view{};
  const bool routes = std::any_of(module.begin(), module.end(), [](auto part) { return part.starts_with("router"); });
  if (routes || last == "shared_expert_gate" || (last == "gate" && !contains(parent, "att")) ||
      (last == "wg" && parent == "gate")) {
    return TensorRole::router;
  }
  return TensorRole::matrix;
}

}  // namespace

TensorRole tensor_role(std::string_view name, std::span<const int64_t> shape) {
  if (shape.size() < 2) return TensorRole::other;
  const Place place = place_of(name);
  const bool in_layer = !place.layer.empty();
  const bool of_experts = is_one_of(std::string_view("experts"), place.module);
  // Without the ending, only what experts hold is known to be weights: others are states and tables.
  if (!place.suffixed && !of_experts) return TensorRole::other;
  const TensorRole role = in_layer ? module_role(place.module) : outside_role(place);
  if (role == TensorRole::other || (shape.size() > 2 && role != TensorRole::matrix)) return TensorRole::other;
  if (in_tower(place)) return TensorRole::tower;
  if (shape.size() > 2) return TensorRole::stack;
  if (role != TensorRole::matrix) return role;
  if (!place.suffixed) return TensorRole::unnamed;
  const bool small = std::min(shape[0], shape[1]) < kLeastExtent && !is_one_of(place.module.back(), kProjections);
  return small ? TensorRole::small : role;
}

std::optional<int64_t> layer_number(std::string_view part) {
  if (part.empty() || !std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; })) return {};
  return parse_int(part);
}

std::optional<MatrixName> parse_matrix_name(std::string_view name) {
  const Place place = place_of(name);
  if (!place.suffixed || in_tower(place)) return std::nullopt;
  if (!place.layer.empty()) {
    if (module_role(place.module) != TensorRole::matrix) return std::nullopt;
    const auto module = static_cast<size_t>(place.module.front().data() - name.data());
    return MatrixName{std::string(place.layer),
                      std::string(name.substr(module, name.size() - kSuffix.size() - module))};
  }
  const TensorRole role = outside_role(place);
  if (role != TensorRole::embedding && role != TensorRole::head) return std::nullopt;
  return MatrixName{"", std::string(name.substr(0, name.size() - kSuffix.size()))};
}

std::string_view stack_name(std::string_view name) {
  const Place place = place_of(name);
  if (place.layer.empty()) return {};
  return name.substr(0, static_cast<size_t>(place.layer.data() - name.data()) - 1);
}

bool is_multi_token(std::string_view name) {
  const Place place = place_of(name);
  return !place.layer.empty() && is_one_of(std::string_view("mtp"), place.before);
}

}  // namespace mxq
