#include "model/torch_model.h"

#include <fmt/format.h>

#include <memory>
#include <system_error>
#include <utility>

#include "format/torch_file.h"
#include "model/meta_llama.h"
#include "model/model_files.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char *kConfig = "config.json", *kParams = "params.json", *kMeta = "consolidated.00.pth";
constexpr const char *kSingle = "pytorch_model.bin", *kIndex = "pytorch_model.bin.index.json";

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_meta(const fs::path& folder) {
  return is_there(folder / kMeta) && is_there(folder / kParams);
}

StoredTensors read_archive(const MappedFile& file) {
  if (kind_of_file(file) != FileKind::torch) refuse_file(file.path());
  return read_torch_file(file);
}

void add_file(StoredModel& model, const fs::path& path) {
  auto file = std::make_shared<const MappedFile>(path);
  auto tensors = read_archive(*file);
  model.add(std::move(file), std::move(tensors));
}

StoredModel open_files(const fs::path& folder) {
  StoredModel model;
  if (is_there(folder / kSingle)) {
    if (is_there(folder / kIndex)) {
      model.notes.push_back(
          fmt::format("{} lies beside {}: the index and its shards are not read, as in transformers", kSingle, kIndex));
    }
    add_file(model, folder / kSingle);
  } else if (is_there(folder / kIndex)) {
    model = open_shards(folder / kIndex, read_archive);
  } else {
    for (const fs::path& file : torch_weights(folder)) add_file(model, file);
  }
  return model;
}

void read_config(TorchModel& model, const fs::path& folder) {
  const fs::path file = folder / kConfig;
  model.config_json = read_file(file);
  model.config = parse_hf_config(*model.config_json, file.string());
  model.folder = folder;
}

TorchModel open_meta(const fs::path& folder) {
  std::vector<fs::path> parts = files_ending(folder, ".pth");
  std::erase_if(parts, [](const fs::path& file) { return !file.filename().string().starts_with("consolidated."); });
  if (parts.size() > 1) {
    throw Error(ErrorCode::unsupported, "open " + folder.string(),
                fmt::format("the model in {} parts for as many devices ({}, ...)", parts.size(),
                            in_quotes(parts.front().filename().string())),
                fmt::format("{} alone, or the model in Hugging Face's layout", kMeta));
  }
  StoredModel files;
  add_file(files, folder / kMeta);
  const fs::path params = folder / kParams;
  TorchModel model = meta_llama(std::move(files), read_file(params), params.string());
  model.folder = folder;
  return model;
}

}  // namespace

bool holds_torch_model(const fs::path& folder) {
  if (is_there(folder / "adapter_config.json") || is_there(folder / "model_index.json")) return false;
  if (is_there(folder / kConfig) && (is_there(folder / kSingle) || is_there(folder / kIndex))) return true;
  if (is_meta(folder)) return true;
  return files_ending(folder, ".gguf").empty() && (is_there(folder / kMeta) || has_torch_weights(folder));
}

TorchModel open_torch_folder(const fs::path& folder) {
  const bool usual = is_there(folder / kSingle) || is_there(folder / kIndex);
  if (is_meta(folder) && !(usual && is_there(folder / kConfig))) return open_meta(folder);
  if (!is_there(folder / kConfig)) {
    const bool meta = is_there(folder / kMeta);
    throw Error(ErrorCode::not_found, "open " + folder.string(),
                fmt::format("the folder has no {}", meta ? kParams : kConfig),
                fmt::format("{} beside the weights, or the path of one file", meta ? kParams : kConfig));
  }
  TorchModel model;
  read_config(model, folder);
  model.files = open_files(folder);
  return model;
}

TorchModel open_torch_file(const fs::path& file) {
  const fs::path folder = file.parent_path().empty() ? fs::path(".") : file.parent_path();
  const std::string name = file.filename().string();
  if (name.starts_with("consolidated.") && is_there(folder / kParams)) return open_meta(folder);
  TorchModel model;
  if (is_there(folder / kConfig)) {
    if (is_one_of_shards(file)) {
      throw Error(ErrorCode::unsupported, "open " + file.string(), "one of several shards of a model",
                  "the folder that they lie in");
    }
    read_config(model, folder);
  }
  add_file(model.files, file);
  return model;
}

}  // namespace mxq
