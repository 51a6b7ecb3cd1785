// Fields of config.json that mixtures of experts share.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/config_fields.h"
#include "model/gguf_fields.h"
#include "model/gguf_keys.h"

namespace mxq {

/// The numbers of experts, of all under `field` and of a token's under num_experts_per_tok; a missing one is that of
/// `usual`, whose other members are taken over. Throws Error(invalid_file) where a token has more than there are.
void read_experts(const ConfigFields& fields, const char* field, const Mixture& usual, ModelConfig& config);
void write_experts(const ModelConfig& config, const char* field, nlohmann::ordered_json& json);

/// Where Qwen's mixtures have their number.
inline constexpr const char* kQwenExperts = "num_experts";

/// read_experts(), and the sizes of an expert and, where `usual` has one, of the network beside them.
void read_shared_experts(const ConfigFields& fields, const char* field, const Mixture& usual, ModelConfig& config);
/// The number under kQwenExperts.
void write_shared_experts(const ModelConfig& config, nlohmann::ordered_json& json);

/// As Qwen's mixtures have them, whose other layers are dense: read_shared_experts(), what counts of an
/// expert, and which layers have experts.
void read_qwen_mixture(const ConfigFields& fields, const char* field, const Mixture& usual, ModelConfig& config);
void write_qwen_mixture(const ModelConfig& config, nlohmann::ordered_json& json);
/// The fields of read_qwen_mixture(), and those of training. `shared`: with a network beside the experts.
std::vector<ConfigField> qwen_mixture_fields(bool shared);
/// A router and experts; `shared`: a network beside them with a gate of its own, which sees every token.
std::vector<LayerTensor> qwen_mixture_tensors(bool shared);

/// Gate and up of all experts in one tensor, and down, as transformers 5 keeps the experts of most mixtures.
/// `restored`: files have them so.
std::vector<ExpertStack> joined_stacks(bool restored);

/// The numbers and the size of experts. GGUF does not say whether what counts of a token's experts adds up to 1, and
/// may leave out the size of one: then it is `usual_size`, or a token's experts together are as large as a dense
/// network. Throws Error(invalid_file) naming the key.
void read_gguf_experts(const GgufFields& fields, bool normalised, std::optional<int64_t> usual_size,
                       ModelConfig& config);
/// The same with a network beside the experts, which is as large as a dense one where its size is missing.
void read_gguf_shared_experts(const GgufFields& fields, bool normalised, ModelConfig& config);
/// The other way round, of any of them; nothing where there are no experts.
void write_gguf_experts(const ModelConfig& config, GgufKeys& keys);
/// Keys of GGUF that describe a mixture.
std::vector<ConfigField> gguf_mixture_fields();

/// Fields of mixtures that are for training.
std::vector<ConfigField> training_fields();

}  // namespace mxq
