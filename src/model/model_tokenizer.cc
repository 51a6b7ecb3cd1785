#include "model/model_tokenizer.h"

#include <fmt/format.h>

#include "mxq/error.h"

namespace mxq {

int64_t vocabulary(const ModelSource& model) {
  return model.config() ? model.config()->vocab_size : 0;
}

std::unique_ptr<Tokenizer> open_model_tokenizer(const ModelSource& model) {
  auto tokenizer = open_tokenizer(model.path());
  if (tokenizer->vocab_size() > vocabulary(model)) {
    throw Error(ErrorCode::invalid_file, "run " + model.path().string(),
                fmt::format("the tokenizer knows {} tokens, the model {}", tokenizer->vocab_size(), vocabulary(model)),
                "the model's own tokenizer");
  }
  return tokenizer;
}

}  // namespace mxq
