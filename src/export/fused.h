// Modules that a runtime computes with one matrix: all or none of them are quantized, in one scheme.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/model_source.h"

namespace mxq {

/// `schemes`: of each quantized module. Throws Error(usage), under `operation`, naming two modules of one of `ties` (by
/// the names of fused_modules(), those of a block) in different schemes, or one of which is not quantized.
void check_fused(const ModelSource& model, const std::map<std::string, std::string>& schemes,
                 const std::vector<std::string_view>& ties, const std::string& operation);

}  // namespace mxq
