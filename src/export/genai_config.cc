// Read from onnxruntime-genai 0.18.0: builders/base.py.
#include "export/genai_config.h"

#include <nlohmann/json.hpp>

namespace mxq {

std::string genai_config_json(const ModelConfig& config, const std::string& filename) {
  using Json = nlohmann::ordered_json;
  Json model;
  if (config.bos_token_id) model["bos_token_id"] = *config.bos_token_id;
  model["context_length"] = config.max_position_embeddings;
  model["decoder"] = {
      {"session_options", {{"log_id", "onnxruntime-genai"}, {"provider_options", Json::array()}}},
      {"filename", filename},
      {"head_size", config.head_dim},
      {"hidden_size", config.hidden_size},
      {"inputs",
       {{"input_ids", "input_ids"},
        {"attention_mask", "attention_mask"},
        {"past_key_names", "past_key_values.%d.key"},
        {"past_value_names", "past_key_values.%d.value"}}},
      {"outputs",
       {{"logits", "logits"}, {"present_key_names", "present.%d.key"}, {"present_value_names", "present.%d.value"}}},
      {"num_attention_heads", config.num_attention_heads},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_key_value_heads", config.num_key_value_heads}};
  const auto& ends = config.eos_token_ids;
  if (ends.size() == 1) model["eos_token_id"] = ends.front();
  if (ends.size() > 1) model["eos_token_id"] = ends;
  if (config.pad_token_id || !ends.empty())
    model["pad_token_id"] = config.pad_token_id.value_or(ends.empty() ? 0 : ends.front());
  model["type"] = config.architecture;
  model["vocab_size"] = config.vocab_size;
  const Json whole{{"model", model},
                   {"search",
                    {{"do_sample", false},
                     {"max_length", config.max_position_embeddings},
                     {"min_length", 0},
                     {"num_beams", 1},
                     {"past_present_share_buffer", true}}}};
  return whole.dump(2) + "\n";
}

}  // namespace mxq
