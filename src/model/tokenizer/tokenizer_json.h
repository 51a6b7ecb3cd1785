// Hugging Face's tokenizer.json.
#pragma once

#include <string>
#include <string_view>

#include "model/tokenizer/tokenizer_spec.h"

namespace mxq {

/// The tokenizer that the text of a tokenizer.json describes; `config` is that of tokenizer_config.json, which names
/// BOS and EOS where the post-processor does not, or empty. `source` and `config_source` head errors.
///   model           BPE, merges as "a b" or pairs; byte_fallback, fuse_unk, ignore_merges
///   normalizer      Sequence, Prepend, Replace of a string, NFC
///   pre_tokenizer   Sequence, Split, Digits, ByteLevel without add_prefix_space, Metaspace as the first
///   decoder         ByteLevel, Metaspace, or what undoes the normalizer: Replace, ByteFallback, Fuse, Strip
///   post_processor  TemplateProcessing that adds at most BOS, ByteLevel
/// Throws Error(invalid_file) for text that is no tokenizer.json, Error(unsupported) naming any other part.
TokenizerSpec parse_tokenizer_json(std::string_view text, const std::string& source, std::string_view config = {},
                                   const std::string& config_source = {});

}  // namespace mxq
