#include "export/transformers_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "format/hf_config.h"
#include "format/python_json.h"
#include "model/select_matrices.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr std::array<std::string_view, 12> kArchitectures{"llama",  "mistral",     "qwen2", "qwen3",
                                                          "gemma2", "gemma3_text", "phi3",  "smollm3",
                                                          "olmo2",  "granite",     "glm4",  "cohere2"};

}  // namespace

void check_transformers_model(const ModelSource& model, const std::string& operation) {
  const auto config = parse_python_json_in_order(model.config_json(), "read config.json");
  const auto found = config.find("model_type");
  const std::string type = found != config.end() && found->is_string() ? found->get<std::string>() : "";
  if (type == model.architecture() &&
      std::find(kArchitectures.begin(), kArchitectures.end(), type) != kArchitectures.end()) {
    return;
  }
  throw Error(ErrorCode::unsupported, operation, fmt::format("a model of the type '{}'", type),
              fmt::format("{}", fmt::join(kArchitectures, ", ")));
}

std::vector<const SourceTensor*> transformers_tensors(const ModelSource& model, const std::string& operation,
                                                      std::vector<std::string>& notes) {
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
      throw Error(ErrorCode::unsupported, operation,
                  fmt::format("'{}' beside the embedding of a model with 'tie_word_embeddings'", tensor.stored_name),
                  "one of the two, or 'tie_word_embeddings' false");
    }
    kept.push_back(&tensor);
  }
  if (!left.empty()) {
    notes.push_back(
        fmt::format("{} tensors, such as '{}', that the model does not read, are left out", left.size(), left.front()));
  }
  return kept;
}

std::string transformers_config_json(const ModelSource& model, DType dtype) {
  const char* const name = dtype == DType::bf16 ? "bfloat16" : dtype == DType::f16 ? "float16" : "float32";
  return set_torch_dtype(model.config_json(), name, "config.json");
}

}  // namespace mxq
