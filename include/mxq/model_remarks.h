// What whoever uses a model should know about how its files are read.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace mxq {

struct ModelRemarks {
  /// A sentence each: a text model inside a wrapper, tensors and layers that are not used.
  std::vector<std::string> notes;
  /// Fields of config.json or GGUF metadata that the architecture's table does not know; they are not honoured.
  std::vector<std::string> unknown_fields;
};

/// Only headers are read. Throws as opening the model does.
ModelRemarks model_remarks(const std::filesystem::path& model);

}  // namespace mxq
