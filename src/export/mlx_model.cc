// Read from mlx-lm 0.32.2: mlx_lm/utils.py and the classes of mlx_lm/models/.
#include "export/mlx_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "format/hf_config.h"
#include "format/mlx_config.h"
#include "format/python_json.h"
#include "model/select_matrices.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "write mlx";

/// Whether mlx-lm's class has an output matrix of its own.
enum class Head { by_config, always, never };

/// What mlx-lm's class of a model_type does.
struct MlxClass {
  std::string_view model_type;
  Head head = Head::by_config;
  bool biases = true;    // of q, k and v, where config.json says so
  bool pattern = false;  // it has windows; layers without one are every n-th
  bool partial = false;  // it rotates a part of a head, where config.json says so
};

constexpr std::array kClasses{
    MlxClass{"llama"},
    MlxClass{"mistral"},
    MlxClass{"qwen2"},
    MlxClass{"qwen3", Head::by_config, /*biases=*/false},
    MlxClass{"gemma2", Head::never, /*biases=*/false},
    MlxClass{"gemma3_text", Head::by_config, /*biases=*/false, /*pattern=*/true},
    MlxClass{"phi3", Head::by_config, /*biases=*/false, /*pattern=*/false, /*partial=*/true},
    MlxClass{"smollm3"},
    MlxClass{"olmo2"},
    MlxClass{"granite"},
    MlxClass{"glm4", Head::always, /*biases=*/true, /*pattern=*/false, /*partial=*/true},
    MlxClass{"cohere2", Head::never, /*biases=*/true, /*pattern=*/true},
};

[[noreturn]] void refuse(std::string given, std::string allowed) {
  throw Error(ErrorCode::unsupported, kOperation, std::move(given), std::move(allowed));
}

/// model_type of the file: of a model of several parts, the whole's.
std::string model_type(const ModelSource& model) {
  const auto config = parse_python_json_in_order(model.config_json(), "read config.json");
  const auto found = config.find("model_type");
  return found != config.end() && found->is_string() ? found->get<std::string>() : "";
}

const MlxClass& mlx_class(const ModelSource& model) {
  const std::string type = model_type(model);
  std::vector<std::string_view> known;
  for (const MlxClass& one : kClasses) {
    if (one.model_type == type && type == model.architecture()) return one;
    known.push_back(one.model_type);
  }
  refuse(fmt::format("a model of the type '{}'", type), fmt::format("{}", fmt::join(known, ", ")));
}

/// n where every n-th layer has no window and all others have.
std::optional<int64_t> pattern_of(const ModelConfig& config) {
  for (int64_t n = 1; n <= config.num_hidden_layers + 1; ++n) {
    bool same = true;
    for (int64_t layer = 0; layer < config.num_hidden_layers && same; ++layer) {
      same = (config.window_of(layer) == 0) == (layer % n == n - 1);
    }
    if (same) return n;
  }
  return std::nullopt;
}

void check_rope(const MlxClass& known, const ModelConfig& config) {
  if (config.rotary_part != 1 && !known.partial) {
    refuse(
        fmt::format("'partial_rotary_factor' is {}, which mlx-lm's {} has not", config.rotary_part, known.model_type),
        "1");
  }
  if (!config.rope.scaling) return;
  const RopeScaling& scaling = *config.rope.scaling;
  if (scaling.type == "dynamic" || (scaling.type == "longrope" && known.model_type != "phi3")) {
    refuse(fmt::format("'rope_scaling' of type '{}', which mlx-lm's {} computes otherwise", scaling.type,
                       known.model_type),
           "linear, llama3 or yarn");
  }
  if (scaling.type != "yarn") return;
  if (!scaling.truncate || scaling.attention_factor || scaling.mscale || scaling.mscale_all_dim) {
    refuse(
        "'rope_scaling' of type 'yarn' with 'truncate', 'attention_factor', 'mscale' or 'mscale_all_dim', which mlx-lm "
        "computes otherwise",
        "yarn without");
  }
}

void check_config(const MlxClass& known, const ModelConfig& config) {
  if (!config.unsupported.empty()) {
    const Unsupported& first = config.unsupported.front();
    refuse(fmt::format("{} in a model of the type '{}'", first.given, known.model_type), first.supported);
  }
  if (known.head == Head::always && config.tie_word_embeddings) {
    refuse(fmt::format("'tie_word_embeddings' is true, and mlx-lm's {} has an output matrix", known.model_type),
           "a model with an output matrix of its own");
  }
  if (known.head == Head::never && !config.tie_word_embeddings) {
    refuse(fmt::format("'tie_word_embeddings' is false, and mlx-lm's {} has no output matrix", known.model_type),
           "a model whose embedding is its output matrix");
  }
  if (!known.biases && (config.attention_bias || config.output_bias || config.mlp_bias)) {
    refuse(fmt::format("biases, which mlx-lm's {} has not", known.model_type), "a model without");
  }
  if (known.pattern && !pattern_of(config)) {
    refuse(fmt::format("'layer_types' of a kind that mlx-lm's {} has not", known.model_type),
           "a layer without a window after every so many with one");
  }
  check_rope(known, config);
  if (known.model_type == "gemma3_text" && config.logit_cap > 0) {
    refuse("'final_logit_softcapping', which mlx-lm's gemma3_text has not", "null");
  }
}

/// Where mlx-lm computes texts of some lengths otherwise.
void note_lengths(const MlxClass& known, const ModelConfig& config, std::vector<std::string>& notes) {
  int64_t window = 0;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    window = std::max(window, config.window_of(layer));
  }
  if (window > 0 && !known.pattern) {
    notes.push_back(
        fmt::format("mlx-lm's {} has no sliding window: the model has one of {} tokens, and texts longer than "
                    "that are computed otherwise",
                    known.model_type, window));
  }
  if (config.rope.scaling && config.rope.scaling->type == "longrope") {
    notes.push_back(fmt::format("mlx-lm's {} takes the factors of long texts ('long_factor') for short ones too",
                                known.model_type));
  }
}

}  // namespace

std::vector<const SourceTensor*> mlx_tensors(const ModelSource& model, std::vector<std::string>& notes) {
  check_config(mlx_class(model), *model.config());
  note_lengths(mlx_class(model), *model.config(), notes);
  const TiedCopy tied = find_tied_copy(model);
  std::vector<const SourceTensor*> kept;
  std::vector<std::string> left;
  for (const SourceTensor& tensor : model.tensors()) {
    if (&tensor == tied.copy || tensor.name.ends_with(".rotary_emb.inv_freq")) continue;
    if (!model.reads(tensor)) {
      left.push_back(tensor.stored_name);
      continue;
    }
    if (tensor.role == TensorRole::head && model.config()->tie_word_embeddings) {
      refuse(fmt::format("'{}' beside the embedding of a model with 'tie_word_embeddings'", tensor.stored_name),
             "one of the two, or 'tie_word_embeddings' false");
    }
    kept.push_back(&tensor);
  }
  if (!left.empty()) {
    notes.push_back(fmt::format("{} tensors, such as '{}', that mlx-lm's class of the model has not, are left out",
                                left.size(), left.front()));
  }
  return kept;
}

std::string mlx_config_json(const ModelSource& model, DType dtype) {
  const MlxClass& known = mlx_class(model);
  const ModelConfig& config = *model.config();
  check_config(known, config);
  const std::string source = "config.json";
  std::string json = set_mlx_quantization(model.config_json(), std::nullopt, source);
  json = add_missing_fields(json, hf_config_json(config, dtype), source);
  json = set_torch_dtype(json, dtype == DType::bf16 ? "bfloat16" : "float16", source);
  if (!known.pattern) return json;
  auto whole = parse_python_json_in_order(json, source);
  whole["sliding_window_pattern"] = *pattern_of(config);
  return print_python_json(whole, 2) + "\n";
}

}  // namespace mxq
