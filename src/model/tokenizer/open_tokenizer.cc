#include <fmt/format.h>

#include <system_error>

#include "base/mapped_file.h"
#include "format/gguf.h"
#include "format/gguf_parts.h"
#include "model/model_files.h"
#include "model/tokenizer/spec_tokenizer.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer/tokenizer_json.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/tokenizer.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

std::unique_ptr<Tokenizer> gguf_tokenizer(const MappedFile& file) {
  const GgufFile gguf = parse_gguf(file.bytes(), file.path().string());
  check_first_part(gguf, file.path());
  return std::make_unique<SpecTokenizer>(tokenizer_spec(gguf));
}

std::unique_ptr<Tokenizer> open_json(const fs::path& path) {
  const auto beside = [&](const char* name) {
    const fs::path file = path.parent_path() / name;
    std::error_code ignored;
    return fs::exists(file, ignored) ? SideFile{read_file(file), file.string()} : SideFile{};
  };
  return std::make_unique<SpecTokenizer>(
      parse_tokenizer_json(read_file(path), path.string(),
                           {beside("tokenizer_config.json"), beside("special_tokens_map.json"),
                            beside("added_tokens.json"), beside("config.json")}));
}

std::unique_ptr<Tokenizer> open_folder(const fs::path& path) {
  std::error_code error;
  if (fs::exists(path / "tokenizer.json", error)) return open_json(path / "tokenizer.json");
  if (const auto gguf = only_gguf(path)) return gguf_tokenizer(MappedFile(*gguf));
  throw Error(ErrorCode::not_found, "open the tokenizer of " + path.string(),
              "the folder has no tokenizer.json, and no .gguf file", "tokenizer.json or one .gguf");
}

}  // namespace

std::unique_ptr<Tokenizer> open_tokenizer(const fs::path& model) {
  std::error_code ignored;
  if (!fs::exists(model, ignored)) {
    throw Error(ErrorCode::not_found, "open " + model.string(), "no such file or folder");
  }
  if (fs::is_directory(model)) return open_folder(model);
  if (fs::is_regular_file(model, ignored)) {
    const MappedFile file(model);
    const auto kind = kind_of_file(file);
    if (kind == FileKind::gguf) return gguf_tokenizer(file);
    const fs::path json = model.parent_path() / "tokenizer.json";
    if (kind == FileKind::torch && fs::exists(json, ignored)) return open_json(json);
  }
  if (model.extension() == ".json") return open_json(model);
  throw Error(ErrorCode::unsupported, "open the tokenizer of " + model.string(),
              fmt::format("a file ending in '{}'", model.extension().string()),
              "a folder with tokenizer.json, a .gguf file, or a tokenizer.json");
}

}  // namespace mxq
