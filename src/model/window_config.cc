#include "model/window_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "model/config_checks.h"

namespace mxq {

namespace {

using Json = nlohmann::json;

constexpr const char *kWindow = "sliding_window", *kUse = "use_sliding_window", *kTypes = "layer_types";
constexpr const char *kSliding = "sliding_attention", *kFull = "full_attention";

/// Whether layers have a window only where use_sliding_window is true.
bool is_switched(WindowRule rule) {
  return rule == WindowRule::layer_types || rule == WindowRule::without_rope || rule == WindowRule::all_if_used;
}

/// Where layer_types do not say.
std::vector<bool> usual_layers(const ConfigFields& fields, const Architecture& architecture,
                               const ModelConfig& config) {
  std::vector<bool> layers;
  switch (architecture.window) {
    case WindowRule::layer_types: {
      const int64_t first = fields.find_int("max_window_layers", 0, kMaxExtent).value_or(28);
      for (int64_t i = 0; i < config.num_hidden_layers; ++i) layers.push_back(i >= first);
      break;
    }
    case WindowRule::without_rope:
      for (int64_t i = 0; i < config.num_hidden_layers; ++i) layers.push_back(!config.rotates(i));
      break;
    case WindowRule::pattern: {
      const std::string field(architecture.window_pattern_field);
      const auto given = field.empty() ? std::nullopt : fields.find_int(field, 1, kMaxExtent);
      return window_pattern(config, given.value_or(architecture.window_pattern));
    }
    case WindowRule::all_or_types:
    case WindowRule::all_layers:
    case WindowRule::all_if_used:
    case WindowRule::none:
      break;
  }
  return layers;
}

}  // namespace

std::vector<bool> window_pattern(const ModelConfig& config, int64_t every) {
  std::vector<bool> layers;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) layers.push_back((i + 1) % every != 0);
  return layers;
}

void rotate_in_windows(const Architecture& architecture, ModelConfig& config) {
  if (!architecture.rotates_in_windows_only) return;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) config.rope_layers.push_back(config.window_of(i) > 0);
}

void read_window(const ConfigFields& fields, const Architecture& architecture, ModelConfig& config) {
  const WindowRule rule = architecture.window;
  if (rule == WindowRule::none) return;
  const bool on = !is_switched(rule) || fields.get_bool(kUse, false);
  if (on) {
    config.sliding_window = fields.find_int(kWindow, 1, kMaxContext);
    if (!config.sliding_window && !fields.contains(kWindow)) config.sliding_window = architecture.default_window;
  }
  const Json* types = fields.find(kTypes);
  if (rule == WindowRule::all_layers || rule == WindowRule::all_if_used) {
    // transformers 5 reads them, transformers 4 does not: both mean the same where all layers are alike.
    const char* const all = config.sliding_window ? kSliding : kFull;
    if (types != nullptr && !(types->is_array() && std::all_of(types->begin(), types->end(),
                                                               [&](const Json& type) { return type == all; }))) {
      config.unsupported.push_back({fmt::format("'{}' is {}", kTypes, shown(*types)), fmt::format("{} in all", all)});
    }
    return;
  }
  if (types == nullptr) {
    if (config.sliding_window) {
      config.window_layers = usual_layers(fields, architecture, config);
    } else if (rule == WindowRule::pattern) {
      config.unsupported.push_back({fmt::format("'{}' is null", kWindow), "a window"});
    }
    return;
  }
  const auto layers = static_cast<size_t>(config.num_hidden_layers);
  if (!types->is_array() || types->size() != layers) {
    refuse_config(fields.source(), fmt::format("'{}' is {}", kTypes, shown(*types)),
                  fmt::format("a list with one for each of num_hidden_layers {}", layers));
  }
  bool any = false;
  for (const Json& type : *types) {
    const bool sliding = type == kSliding;
    if (!sliding && type != kFull) {
      config.unsupported.push_back(
          {fmt::format("'{}' has {}", kTypes, shown(type)), fmt::format("{} or {}", kFull, kSliding)});
      return;
    }
    any |= sliding;
    config.window_layers.push_back(sliding);
  }
  if (any && !config.sliding_window) {
    config.unsupported.push_back(
        {fmt::format("'{}' has {}, and '{}' is {}", kTypes, kSliding, on ? kWindow : kUse, on ? "null" : "not true"),
         "a window for such layers"});
  }
  if (!config.sliding_window) config.window_layers.clear();
}

void write_window(const ModelConfig& config, const Architecture& architecture, nlohmann::ordered_json& json) {
  const WindowRule rule = architecture.window;
  if (rule == WindowRule::none) return;
  const auto& window = config.sliding_window;
  if (is_switched(rule)) {
    json[kUse] = window.has_value();
    if (window && rule == WindowRule::layer_types) json["max_window_layers"] = 0;
  }
  if (!is_switched(rule) || window) json[kWindow] = window ? nlohmann::ordered_json(*window) : nullptr;
  if (!window || config.window_layers.empty()) return;
  auto& types = json[kTypes] = nlohmann::ordered_json::array();
  for (const bool layer : config.window_layers) types.push_back(layer ? kSliding : kFull);
}

}  // namespace mxq
