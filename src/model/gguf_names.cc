#include "model/gguf_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "model/matrix_names.h"

namespace mxq {

namespace {

using Pair = std::pair<std::string_view, std::string_view>;  // GGUF, HF

constexpr std::array kModel{Pair{"token_embd", "model.embed_tokens"}, Pair{"output_norm", "model.norm"},
                            Pair{"output", "lm_head"}};

/// Of layers that foretell a token more, behind "blk.N." and "mtp.".
constexpr std::array kMtp{Pair{"nextn.eh_proj", "fc"}, Pair{"nextn.enorm", "pre_fc_norm_embedding"},
                          Pair{"nextn.hnorm", "pre_fc_norm_hidden"}, Pair{"nextn.shared_head_norm", "norm"}};

constexpr std::string_view kGgufLayer = "blk.", kHfLayer = "model.layers.", kMtpLayer = "mtp.layers.";

std::string_view member(const Pair& pair, bool gguf) {
  return gguf ? pair.first : pair.second;
}

template <typename Table>
std::optional<std::string_view> look_up(const Table& table, std::string_view name, bool from_gguf) {
  for (const Pair& pair : table) {
    if (member(pair, from_gguf) == name) return member(pair, !from_gguf);
  }
  return std::nullopt;
}

/// "mlp.experts.{}.up_proj" of "mlp.experts.3.up_proj".
std::string of_any_expert(std::string_view module) {
  constexpr std::string_view experts = "experts.";
  const size_t at = module.find(experts);
  if (at == module.npos) return std::string(module);
  const size_t number = at + experts.size(), end = std::min(module.find('.', number), module.size());
  return std::string(module.substr(0, number)).append("{}").append(module.substr(end));
}

constexpr std::string_view kBias = ".bias";

/// A tensor of a layer by its name there, with its ending.
struct Found {
  const LayerTensor* tensor;
  bool bias = false;
  int piece = 0, pieces = 1;
};

/// Calls `matches(tensor)` of every tensor that a layer may have, until it finds one.
template <typename Matches>
std::optional<Found> find_tensor(const Architecture& architecture, const Matches& matches) {
  for (const bool linear : {false, true}) {
    for (const bool mixture : {true, false}) {
      for (const LayerTensor& tensor : architecture.tensors_of(linear, mixture)) {
        if (auto found = matches(tensor)) return found;
      }
    }
  }
  return std::nullopt;
}

/// "a" + "b" is `whole`.
bool joins(std::string_view whole, std::string_view a, std::string_view b) {
  return !a.empty() && whole.size() == a.size() + b.size() && whole.starts_with(a) && whole.ends_with(b);
}

std::optional<Found> find_gguf(const Architecture& architecture, std::string_view name) {
  return find_tensor(architecture, [&](const LayerTensor& tensor) -> std::optional<Found> {
    const int pieces = tensor.gguf_rest.empty() ? 1 : 2;
    if (joins(name, tensor.gguf, tensor.gguf_ending)) return Found{&tensor, false, 0, pieces};
    if (joins(name, tensor.gguf_rest, tensor.gguf_ending)) return Found{&tensor, false, 1, pieces};
    if (joins(name, tensor.gguf_whole, tensor.gguf_ending)) return Found{&tensor};
    if (joins(name, tensor.gguf, kBias)) return Found{&tensor, true};
    return std::nullopt;
  });
}

std::optional<Found> find_hf(const Architecture& architecture, std::string_view name) {
  const std::string generic = of_any_expert(name);
  return find_tensor(architecture, [&](const LayerTensor& tensor) -> std::optional<Found> {
    if (tensor.gguf.empty()) return std::nullopt;
    for (const std::string_view given : {name, std::string_view(generic)}) {
      if (joins(given, tensor.hf, tensor.hf_ending)) return Found{&tensor};
      if (joins(given, tensor.hf, kBias)) return Found{&tensor, true};
    }
    return std::nullopt;
  });
}

/// Of "blk.0.rest" or "model.layers.0.rest": number and rest.
std::optional<Pair> split_layer(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  const size_t digits = std::min(name.find('.'), name.size());
  const std::string_view layer = name.substr(0, digits);
  const bool number =
      !layer.empty() && std::all_of(layer.begin(), layer.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!number || (layer.size() > 1 && layer[0] == '0') || digits == name.size()) return std::nullopt;
  return Pair{layer, name.substr(digits + 1)};
}

/// Of tensors that have a weight or a bias.
template <typename Table>
std::optional<std::string> translate(const Table& table, std::string_view name, bool from_gguf) {
  for (const std::string_view ending : {std::string_view(".weight"), kBias}) {
    if (!name.ends_with(ending)) continue;
    const auto other = look_up(table, name.substr(0, name.size() - ending.size()), from_gguf);
    if (other) return std::string(*other).append(ending);
  }
  return std::nullopt;
}

std::string of_layer(std::string_view prefix, std::string_view layer, std::string_view module,
                     std::string_view ending) {
  return std::string(prefix).append(layer).append(".").append(module).append(ending);
}

}  // namespace

std::optional<HfName> hf_name_from_gguf(const Architecture& architecture, std::string_view gguf_name,
                                        std::optional<int64_t> mtp_from) {
  if (auto whole = translate(kModel, gguf_name, true)) return HfName{*std::move(whole)};
  const auto split = split_layer(gguf_name, kGgufLayer);
  if (!split) return std::nullopt;
  const auto layer = layer_number(split->first);
  const bool mtp = mtp_from && layer && *layer >= *mtp_from;
  if (mtp) {
    if (const auto own = translate(kMtp, split->second, true)) return HfName{"mtp." + *own};
  }
  const auto found = find_gguf(architecture, split->second);
  if (!found) return std::nullopt;
  const LayerTensor& tensor = *found->tensor;
  const std::string number = mtp ? std::to_string(*layer - *mtp_from) : std::string(split->first);
  return HfName{of_layer(mtp ? kMtpLayer : kHfLayer, number, tensor.hf, found->bias ? kBias : tensor.hf_ending),
                &tensor, found->piece, found->pieces};
}

std::optional<GgufName> find_gguf_name(const Architecture& architecture, std::string_view hf_name,
                                       std::optional<int64_t> mtp_from) {
  if (auto whole = translate(kModel, hf_name, false)) return GgufName{*std::move(whole), {}, nullptr};
  constexpr std::string_view mtp = "mtp.";
  const bool of_mtp = mtp_from && hf_name.starts_with(mtp);
  if (of_mtp) {
    if (const auto own = translate(kMtp, hf_name.substr(mtp.size()), false)) {
      return GgufName{std::string(kGgufLayer) + std::to_string(*mtp_from) + "." + *own, {}, nullptr};
    }
  }
  const auto split = split_layer(hf_name, of_mtp ? kMtpLayer : kHfLayer);
  if (!split) return std::nullopt;
  const auto found = find_hf(architecture, split->second);
  const auto layer = layer_number(split->first);
  if (!found || !layer) return std::nullopt;
  const LayerTensor& tensor = *found->tensor;
  const std::string number = of_mtp ? std::to_string(*layer + *mtp_from) : std::string(split->first);
  const auto name_of = [&](std::string_view module) {
    return module.empty() ? std::string()
                          : of_layer(kGgufLayer, number, module, found->bias ? kBias : tensor.gguf_ending);
  };
  return GgufName{name_of(tensor.gguf), name_of(tensor.gguf_rest), &tensor};
}

std::optional<std::string> gguf_name_from_hf(const Architecture& architecture, std::string_view hf_name) {
  auto found = find_gguf_name(architecture, hf_name);
  return found ? std::optional(std::move(found->name)) : std::nullopt;
}

bool gguf_is_rope_table(std::string_view gguf_name) {
  return gguf_name == "rope_freqs.weight" || gguf_name == "rope_factors_long.weight" ||
         gguf_name == "rope_factors_short.weight";
}

}  // namespace mxq
