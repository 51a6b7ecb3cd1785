// Hugging Face's tokenizer.json.
#pragma once

#include <string>
#include <string_view>

#include "model/tokenizer/tokenizer_config.h"
#include "model/tokenizer/tokenizer_spec.h"

namespace mxq {

/// The tokenizer that the text of a tokenizer.json describes, with the files beside it. `source` heads errors.
///   model           BPE, merges as "a b" or pairs; byte_fallback, fuse_unk, ignore_merges, dropout 0
///                   Unigram, without ByteLevel; unk_id, byte_fallback
///   normalizer      Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Nmt, Lowercase, StripAccents, Strip
///   pre_tokenizer   Sequence, Split, Digits, Punctuation, ByteLevel (only these three behind it), Metaspace,
///   Whitespace,
///                   WhitespaceSplit, CharDelimiterSplit
///   decoder         ByteLevel, Metaspace, or what undoes the normalizer: Replace, ByteFallback, Fuse, Strip
///   post_processor  Sequence, TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel
/// truncation and padding hold for batches only, as in transformers. Added tokens are numbered as the package
/// tokenizers numbers them, whatever id the file gives. Throws Error(invalid_file) for text that is no tokenizer.json,
/// Error(unsupported) naming any other part or field.
TokenizerSpec parse_tokenizer_json(std::string_view text, const std::string& source,
                                   const TokenizerSideFiles& files = {});

}  // namespace mxq
