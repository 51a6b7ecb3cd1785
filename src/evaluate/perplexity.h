// Perplexity of token ids.
#pragma once

#include <cstdint>
#include <span>

#include "model/decoder/decoder.h"
#include "mxq/evaluate.h"

namespace mxq {

/// As measure_perplexity, of ids; weight_bytes stays 0.
Perplexity perplexity_of(Decoder& decoder, std::span<const int32_t> ids, const PerplexityOptions& options,
                         Progress& progress);

}  // namespace mxq
