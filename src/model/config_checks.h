// What both readers of configurations hold numbers to, whatever file they come from.
#pragma once

#include <cstdint>
#include <string>

#include "model/config.h"

namespace mxq {

inline constexpr int64_t kMaxExtent = int64_t{1} << 31;  // of any dimension: products of two stay far inside 63 bits
inline constexpr int64_t kMaxContext = int64_t{1} << 40;
inline constexpr int64_t kMaxLayers = 100'000;
inline constexpr int64_t kMaxExperts = 65'536;

/// Throws Error(invalid_file); `source` names the file.
[[noreturn]] void refuse_config(const std::string& source, std::string given, std::string supported = {});

/// Throws Error(invalid_file) where heads do not divide.
void check_config(const ModelConfig& config, const std::string& source);

/// hidden_size / heads; 0 without heads. Throws Error(invalid_file) where they do not divide.
int64_t default_head_dim(const ModelConfig& config, const std::string& source);

}  // namespace mxq
