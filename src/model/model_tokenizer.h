// A model's own tokenizer.
#pragma once

#include <memory>

#include "model/model_source.h"
#include "mxq/tokenizer.h"

namespace mxq {

/// As open_tokenizer(); throws Error(invalid_file) also where it knows more tokens than the model. (Fewer are common:
/// embeddings are padded.)
std::unique_ptr<Tokenizer> open_model_tokenizer(const ModelSource& model);

/// Rows of the embedding as the config says; 0 without one.
int64_t vocabulary(const ModelSource& model);

}  // namespace mxq
