// What a Model holds: each part made when it is first asked for, and at most once.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/model_source.h"
#include "model/model_tokenizer.h"
#include "model/runner/runner.h"
#include "mxq/calibration.h"
#include "mxq/model.h"
#include "mxq/progress.h"
#include "mxq/tokenizer.h"

namespace mxq {

class Model::State {
 public:
  explicit State(const std::filesystem::path& path);

  const ModelSource& source() const { return *source_; }
  /// Throws what open_model_tokenizer() throws, each time.
  const Tokenizer& tokenizer();
  /// What sampling ids takes, whether or not a tokenizer can be opened.
  const TokenFacts& token_facts();
  /// Of one tensor's values: what a cache of results on it is keyed by.
  const std::string& tensor_id(const SourceTensor& tensor);
  /// Progress: phase "hash" in bytes, the first time.
  const std::string& content_id(Progress* progress = nullptr);
  const std::optional<std::string>& why_not_runnable();

  /// The model, loaded; one at a time is kept, and another way to run it loads it again. Whoever asks leaves its
  /// matrices as they are. Progress: phase "load". Throws what make_runner() throws.
  Runner& runner(const RunOptions& run, Progress& progress);
  /// How jobs that may choose run it: Model::run_packed().
  RunOptions run(Compute compute = best_compute()) const { return {compute, packed}; }
  /// Before work that needs the memory and not the loaded model.
  void unload() { runner_.reset(); }

  /// Text that the model has sampled, by what it was sampled with.
  std::map<std::string, SampledText> sampled;
  /// What tokens of texts count, by the text: a row a layer (calibrate/token_weights.h).
  std::deque<std::pair<std::vector<std::vector<int32_t>>, std::vector<std::vector<float>>>> token_weights;
  bool packed = false;  // Model::run_packed()

 private:
  std::unique_ptr<ModelSource> source_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<TokenFacts> token_facts_;
  std::vector<std::string> tensor_ids_;
  std::string content_id_;
  std::optional<std::optional<std::string>> why_not_runnable_;
  std::unique_ptr<Runner> runner_;
  RunOptions loaded_;  // how runner_ runs
};

}  // namespace mxq
