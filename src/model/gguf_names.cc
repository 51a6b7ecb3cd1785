#include "model/gguf_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace mxq {

namespace {

using Pair = std::pair<std::string_view, std::string_view>;  // GGUF, HF

constexpr std::array kModel{Pair{"token_embd", "model.embed_tokens"}, Pair{"output_norm", "model.norm"},
                            Pair{"output", "lm_head"}};

constexpr std::string_view kGgufLayer = "blk.", kHfLayer = "model.layers.";

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

/// The tensor of a layer by its module, without ending; null where there is none.
const LayerTensor* find_tensor(const Architecture& architecture, std::string_view module, bool from_gguf) {
  const std::string generic = from_gguf ? std::string(module) : of_any_expert(module);
  for (const bool linear : {false, true}) {
    for (const bool mixture : {true, false}) {
      for (const LayerTensor& tensor : architecture.tensors_of(linear, mixture)) {
        const bool same = from_gguf ? tensor.gguf == module : tensor.hf == module || tensor.hf == generic;
        if (same) return &tensor;
      }
    }
  }
  return nullptr;
}

std::optional<std::string> translate(const Architecture& architecture, std::string_view name, bool from_gguf) {
  constexpr std::string_view weight = ".weight", bias = ".bias";
  std::string_view suffix;
  for (const std::string_view known : {weight, bias}) {
    if (name.ends_with(known)) suffix = known;
  }
  if (suffix.empty() && from_gguf) return std::nullopt;
  name.remove_suffix(suffix.size());
  if (const auto whole = look_up(kModel, name, from_gguf); whole && !suffix.empty()) {
    return std::string(*whole).append(suffix);
  }

  const std::string_view prefix = from_gguf ? kGgufLayer : kHfLayer;
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  const size_t digits = std::min(name.find('.'), name.size());
  const std::string_view layer = name.substr(0, digits);
  const bool number =
      !layer.empty() && std::all_of(layer.begin(), layer.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!number || (layer.size() > 1 && layer[0] == '0') || digits == name.size()) return std::nullopt;
  const LayerTensor* const found = find_tensor(architecture, name.substr(digits + 1), from_gguf);
  if (found == nullptr) return std::nullopt;
  if (suffix != bias) {
    if (!from_gguf && suffix != found->hf_ending) return std::nullopt;
    suffix = from_gguf ? found->hf_ending : weight;
  }
  std::string result(from_gguf ? kHfLayer : kGgufLayer);
  return result.append(layer).append(".").append(from_gguf ? found->hf : found->gguf).append(suffix);
}

}  // namespace

std::optional<std::string> hf_name_from_gguf(const Architecture& architecture, std::string_view gguf_name) {
  return translate(architecture, gguf_name, true);
}
std::optional<std::string> gguf_name_from_hf(const Architecture& architecture, std::string_view hf_name) {
  return translate(architecture, hf_name, false);
}

bool gguf_is_rope_table(std::string_view gguf_name) {
  return gguf_name == "rope_freqs.weight" || gguf_name == "rope_factors_long.weight" ||
         gguf_name == "rope_factors_short.weight";
}

int64_t gguf_row_of_hf_row(int64_t row, int64_t head_rows) {
  const int64_t head = row / head_rows, within = row % head_rows, pairs = head_rows / 2;
  return head * head_rows + within % pairs * 2 + within / pairs;
}

}  // namespace mxq
