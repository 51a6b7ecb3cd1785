// A model in files of torch.save, found and opened: its tensors under Hugging Face's names, and its configuration.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "format/stored_model.h"
#include "model/config.h"

namespace mxq {

struct TorchModel {
  StoredModel files;
  std::optional<ModelConfig> config;
  std::optional<std::string> config_json;  // the text of config
  /// Of matrices whose rows lie in another order: row r is the file's [r]-th.
  std::map<std::string, std::vector<int64_t>> row_orders = {};
  /// Where the tokenizer lies, and other files of the model; empty where nothing belongs to the weights.
  std::filesystem::path folder = {};
};

/// Whether open_torch_folder() is for this folder: it has config.json and pytorch_model.bin or its index, or Meta's
/// params.json and consolidated.00.pth, or other files of torch.save and no .gguf; no adapter and no pipeline.
bool holds_torch_model(const std::filesystem::path& folder);

/// pytorch_model.bin (which wins over an index beside it, as in transformers); pytorch_model.bin.index.json; a complete
/// set of shards; the one file of another name; or Meta's consolidated.00.pth (model/meta_llama.h). Throws
/// Error(not_found) for a missing config.json and for missing shards, Error(unsupported) for several models, and what
/// parse_torch_file() throws.
TorchModel open_torch_folder(const std::filesystem::path& folder);

/// A file alone, with the config.json (or params.json) beside it where there is one. Throws Error(unsupported) for one
/// of several shards that a config.json lies beside.
TorchModel open_torch_file(const std::filesystem::path& file);

}  // namespace mxq
