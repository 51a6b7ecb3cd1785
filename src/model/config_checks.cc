#include "model/config_checks.h"

#include <fmt/format.h>

#include <utility>

#include "mxq/error.h"

namespace mxq {

void refuse_config(const std::string& source, std::string given, std::string supported) {
  throw Error(ErrorCode::invalid_file, "read " + source, std::move(given), std::move(supported));
}

void check_config(const ModelConfig& config, const std::string& source) {
  if (config.num_key_value_heads > 0 && config.num_attention_heads % config.num_key_value_heads != 0) {
    refuse_config(source, fmt::format("num_attention_heads {} is no multiple of num_key_value_heads {}",
                                      config.num_attention_heads, config.num_key_value_heads));
  }
}

int64_t default_head_dim(const ModelConfig& config, const std::string& source) {
  if (config.num_attention_heads == 0) return 0;
  if (config.hidden_size % config.num_attention_heads != 0) {
    refuse_config(source, fmt::format("head_dim is missing and hidden_size {} is no multiple of num_attention_heads {}",
                                      config.hidden_size, config.num_attention_heads));
  }
  return config.hidden_size / config.num_attention_heads;
}

}  // namespace mxq
