#include "mxq/model.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "base/content_hash.h"
#include "model/model_state.h"
#include "model/tokenizer/tokenizer_config.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {

Model::Model(const std::filesystem::path& path) : state_(std::make_shared<State>(path)) {}

const std::filesystem::path& Model::path() const {
  return state_->source().path();
}

std::string Model::architecture() const {
  return state_->source().architecture();
}

const std::string& Model::content_id() const {
  return state_->content_id();
}

std::vector<std::string> Model::notes() const {
  return state_->source().notes();
}

std::vector<std::string> Model::unknown_fields() const {
  const auto& config = state_->source().config();
  std::vector<std::string> fields = config ? config->unknown_fields : std::vector<std::string>();
  const std::filesystem::path file = path() / "tokenizer_config.json";
  std::error_code ignored;
  if (std::filesystem::is_regular_file(file, ignored)) {
    for (const auto& name : unknown_tokenizer_fields(read_file(file))) fields.push_back("tokenizer_config." + name);
  }
  return fields;
}

const Tokenizer& Model::tokenizer() const {
  return state_->tokenizer();
}

void Model::run_packed(bool packed) const {
  state_->packed = packed;
}

bool Model::runs_packed() const {
  return state_->packed;
}

const std::optional<std::string>& Model::why_not_runnable() const {
  return state_->why_not_runnable();
}

Model::State::State(const std::filesystem::path& path) : source_(open_model(path)) {
  tensor_ids_.resize(source_->tensors().size());
}

const Tokenizer& Model::State::tokenizer() {
  if (!tokenizer_) tokenizer_ = open_model_tokenizer(*source_);
  return *tokenizer_;
}

const TokenFacts& Model::State::token_facts() {
  if (!token_facts_) {
    const Tokenizer* known = nullptr;
    std::string reason;
    try {
      known = &tokenizer();
    } catch (const Error& error) {
      reason = error.what();
    }
    token_facts_ = mxq::token_facts(*source_, known, reason);
  }
  return *token_facts_;
}

const std::string& Model::State::tensor_id(const SourceTensor& tensor) {
  std::string& id = tensor_ids_.at(tensor.index);
  if (id.empty()) {
    ContentHash hash;
    source_->hash(tensor, hash);
    source_->done(tensor);  // a model that is hashed is not to stay in memory
    id = hash.hex();
  }
  return id;
}

const std::string& Model::State::content_id(Progress* progress) {
  if (content_id_.empty()) {
    Progress& bar = or_silent(progress);
    int64_t bytes = 0, done = 0;
    for (const SourceTensor& tensor : source_->tensors()) bytes += source_->stored_bytes(tensor);
    bar.begin("hash", bytes);
    ContentHash hash;
    for (const SourceTensor& tensor : source_->tensors()) {
      hash.add(tensor.name);
      hash.add(tensor_id(tensor));
      bar.update(done += source_->stored_bytes(tensor));
    }
    bar.end();
    hash.add(source_->config_json());
    content_id_ = hash.hex();
  }
  return content_id_;
}

const std::optional<std::string>& Model::State::why_not_runnable() {
  if (!why_not_runnable_) {
    try {
      make_runner(*source_, {Compute::f32, true});  // packed: no matrix is read
      why_not_runnable_.emplace();
    } catch (const Error& error) {
      why_not_runnable_.emplace(error.what());
    }
  }
  return *why_not_runnable_;
}

Runner& Model::State::runner(const RunOptions& run, Progress& progress) {
  if (!runner_ || run != loaded_) {
    runner_.reset();  // never two of them in memory
    runner_ = make_runner(*source_, run, &progress);
    loaded_ = run;
  }
  return *runner_;
}

}  // namespace mxq
