// A model that is opened once and shared by the jobs that work on it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mxq/tokenizer.h"

namespace mxq {

/// A handle: copies share what is behind it. Opening reads headers only; the tokenizer, the content id, the loaded
/// weights and the text that the model has sampled are made when a job first asks for them, and at most once. A job
/// that takes a model also takes a path, and opens the model for itself then: pass one Model to several jobs so that
/// files are opened, hashed, loaded and sampled from once. One thread at a time may use a model.
class Model {
 public:
  /// Opens whatever docs/reference/models.md lists. Throws Error(not_found) where nothing is there, Error(unsupported)
  /// for what mxq cannot read, Error(invalid_file) for broken files.
  Model(const std::filesystem::path& path);  // NOLINT: a path stands for the model in every job
  Model(const std::string& path) : Model(std::filesystem::path(path)) {}
  Model(const char* path) : Model(std::filesystem::path(path)) {}

  const std::filesystem::path& path() const;
  /// Hugging Face's model_type ("llama"); empty for weights alone.
  std::string architecture() const;
  /// 32 hexadecimal digits that tell contents apart: of all tensors and the configuration. Reads every byte the first
  /// time.
  const std::string& content_id() const;
  /// What whoever uses the model should know about how its files are read, a sentence each: a text model inside a
  /// wrapper, tensors and layers that are not used, an index that is wrong about what no weight needs.
  std::vector<std::string> notes() const;
  /// Fields of config.json, of GGUF metadata or of tokenizer_config.json ("tokenizer_config.x") that are not known;
  /// they are not honoured.
  std::vector<std::string> unknown_fields() const;
  /// Texts with a token that the model has no row for are refused by its encode(). Throws what open_tokenizer() throws.
  const Tokenizer& tokenizer() const;
  /// Why the model cannot be run, as one line; nullopt where it can.
  const std::optional<std::string>& why_not_runnable() const;

  /// From here on jobs that run the model leave its weights in the files and read them as often as they need them
  /// (RunOptions::packed): slower, in memory for a layer's worth of work instead of the whole model. For a model that
  /// is larger than memory.
  void run_packed(bool packed = true) const;
  bool runs_packed() const;

  /// What the library's jobs work on.
  class State;
  State& state() const { return *state_; }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace mxq
