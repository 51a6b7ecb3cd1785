#include "model/model_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "mxq/error.h"

namespace mxq {

int64_t vocabulary(const ModelSource& model) {
  return model.config() ? model.config()->vocab_size : 0;
}

namespace {

/// Of a model with fewer rows than tokens.
class BoundedTokenizer : public Tokenizer {
 public:
  BoundedTokenizer(std::unique_ptr<Tokenizer> tokenizer, int64_t rows, std::string operation)
      : tokenizer_(std::move(tokenizer)), rows_(rows), operation_(std::move(operation)) {}

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override {
    auto ids = tokenizer_->encode(text, options);
    for (const int32_t id : ids) {
      if (id < rows_) continue;
      throw Error(ErrorCode::unsupported, operation_,
                  fmt::format("the text has the token '{}', id {}: the tokenizer knows {} tokens, the model {}",
                              decode(std::span(&id, 1)), id, vocab_size(), rows_),
                  fmt::format("texts with tokens below {}", rows_));
    }
    return ids;
  }
  std::string decode(std::span<const int32_t> ids) const override { return tokenizer_->decode(ids); }
  int32_t vocab_size() const override { return tokenizer_->vocab_size(); }
  std::optional<int32_t> bos() const override { return tokenizer_->bos(); }
  std::optional<int32_t> eos() const override { return tokenizer_->eos(); }
  bool adds_bos() const override { return tokenizer_->adds_bos(); }
  std::string remark() const override { return tokenizer_->remark(); }

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  int64_t rows_;
  std::string operation_;
};

}  // namespace

std::unique_ptr<Tokenizer> open_model_tokenizer(const ModelSource& model) {
  auto tokenizer = model.open_tokenizer();
  const int64_t rows = vocabulary(model);
  if (tokenizer->vocab_size() <= rows) return tokenizer;
  return std::make_unique<BoundedTokenizer>(std::move(tokenizer), rows, "run " + model.path().string());
}

bool has_chat_template(const ModelSource& model) {
  std::vector<std::string> ignored;
  for (const auto& [name, text] : model.side_files(ignored)) {
    if (name == "chat_template.jinja") return true;
    if (name != "tokenizer_config.json") continue;
    const auto config = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (config.is_object() && config.contains("chat_template") && !config["chat_template"].is_null()) return true;
  }
  return false;
}

TokenFacts token_facts(const ModelSource& model, const Tokenizer* tokenizer, std::string_view reason) {
  TokenFacts facts;
  facts.count = vocabulary(model);
  if (tokenizer != nullptr) {
    facts.bos = tokenizer->bos();
    facts.eos = tokenizer->eos();
    facts.adds_bos = tokenizer->adds_bos();
    facts.count = std::min<int64_t>(facts.count, tokenizer->vocab_size());
  } else {
    facts.note = fmt::format("the model's text is sampled without its tokenizer, by ids alone: {}", reason);
  }
  const auto known = [&](int64_t id) { return id >= 0 && id < vocabulary(model); };
  if (const auto& config = model.config()) {
    if (!facts.bos && config->bos_token_id && known(*config->bos_token_id)) {
      facts.bos = static_cast<int32_t>(*config->bos_token_id);
      if (!facts.note.empty()) facts.adds_bos = true;
    }
    if (!facts.eos && !config->eos_token_ids.empty() && known(config->eos_token_ids.front())) {
      facts.eos = static_cast<int32_t>(config->eos_token_ids.front());
    }
  }
  if (facts.bos && !known(*facts.bos)) facts.bos.reset();
  if (facts.eos && !known(*facts.eos)) facts.eos.reset();
  return facts;
}

}  // namespace mxq
