#include "export/gguf_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "export/gguf_tensors.h"
#include "format/gguf.h"
#include "model/arch/architecture.h"
#include "model/gguf_config.h"
#include "model/tokenizer/gguf_tokenizer_entries.h"
#include "model/tokenizer/tokenizer_json.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

using Json = nlohmann::ordered_json;

constexpr uint32_t kQuantizationVersion = 2;  // ggml's GGML_QNT_VERSION
constexpr const char *kAlignmentKey = "general.alignment", *kVersionKey = "general.quantization_version";

// Of how a file was made from another.
bool is_of_the_file(std::string_view key) {
  return key == "general.file_type" || key == kVersionKey || key == kAlignmentKey ||
         key.starts_with("quantize.imatrix.") || key.starts_with("split.");
}

std::vector<GgufEntry> copied(const GgufFile& file) {
  std::vector<GgufEntry> entries;
  for (const std::string& key : file.keys) {
    if (!is_of_the_file(key)) entries.push_back(gguf_entry(key, *file.find(key)));
  }
  return entries;
}

class Builder {
 public:
  Builder(const ModelSource& model, std::vector<std::string>& notes) : model_(model), notes_(notes) {}

  std::vector<GgufEntry> build() {
    std::vector<std::string> said;  // by gguf_tensors() again
    const auto tensors = gguf_tensors(model_, said);
    config_ = &*model_.config();
    for (auto& [name, text] : model_.side_files(notes_)) files_.emplace(std::move(name), std::move(text));
    entries_ = gguf_config_entries(*config_, gguf_mtp_layers(model_));
    check(tensors);
    differences();
    entries_.insert(entries_.begin() + 1, {{"general.type", std::string("model")}, {"general.name", name()}});
    if (files_.contains("tokenizer.json")) {
      tokenizer();
      chat_templates();
    } else {
      entries_.push_back({"tokenizer.ggml.model", std::string("no_vocab")});
      notes_.emplace_back("the model has no tokenizer.json: llama.cpp loads the GGUF for token ids only, not for text");
      ids();
    }
    return std::move(entries_);
  }

 private:
  std::string name() const {
    const auto path = model_.path().lexically_normal();
    const auto last = path.has_filename() ? path : path.parent_path();
    const std::string name = last.filename().string();
    return name.empty() || name == "." || name == ".." ? config_->architecture : name;
  }

  void check(const std::vector<GgufTensor>& tensors) const {
    if (!config_->unsupported.empty()) {
      const Unsupported& first = config_->unsupported.front();
      throw Error(ErrorCode::unsupported, "write GGUF", first.given, first.supported);
    }
    std::vector<GgufTensorSpec> specs;
    for (const GgufTensor& tensor : tensors) specs.push_back({tensor.name, DType::f32, tensor.shape});
    check_gguf_config(*config_, entries_, specs, gguf_tables(*config_));
  }

  // What llama.cpp computes otherwise, or does not load, though GGUF can say it. Its llama has no windows, and those of
  // its phi3 are switched off.
  void differences() {
    const Architecture& architecture = *find_architecture(config_->architecture);
    const int64_t window = config_->sliding_window.value_or(0);
    if (architecture.window == WindowRule::all_layers && window > 0 && window < config_->max_position_embeddings) {
      notes_.push_back(
          fmt::format("each token of the model sees {} tokens before it; llama.cpp lets it see all", window));
    }
    const auto& scaling = config_->rope.scaling;
    if (scaling && scaling->type == "yarn" && !scaling->truncate) {
      notes_.emplace_back("the bounds of the model's rope scaling are not whole numbers; llama.cpp rounds them");
    }
    if (scaling && scaling->type == "yarn" && (scaling->beta_fast != 32 || scaling->beta_slow != 1)) {
      notes_.push_back(fmt::format("the model's rope scaling has the bounds {} and {}; llama.cpp takes 32 and 1",
                                   scaling->beta_fast, scaling->beta_slow));
    }
    const LinearAttention& linear = config_->linear;
    if (linear.key_dim > 0 && config_->norm_eps != 1e-6) {
      notes_.push_back(
          fmt::format("llama.cpp divides queries and keys of linear attention by lengths with the norms' epsilon, {}; "
                      "the model has 1e-06 there",
                      config_->norm_eps));
    }
    if (linear.key_dim != linear.value_dim) {
      notes_.push_back(
          fmt::format("linear attention has keys of {} and values of {} dimensions; llama.cpp loads models "
                      "where both are the same only",
                      linear.key_dim, linear.value_dim));
    }
  }

  SideFile side_file(const std::string& name) const {
    const auto found = files_.find(name);
    if (found == files_.end()) return {};
    return {found->second, (model_.path() / name).string()};
  }

  void tokenizer() {
    const SideFile json = side_file("tokenizer.json");
    const TokenizerSideFiles beside{side_file("tokenizer_config.json"),
                                    side_file("special_tokens_map.json"),
                                    side_file("added_tokens.json"),
                                    {model_.config_json(), (model_.path() / "config.json").string()}};
    const TokenizerSpec spec = parse_tokenizer_json(json.text, json.source, beside);
    for (GgufEntry& entry : gguf_tokenizer_entries(spec, config_->vocab_size, notes_)) {
      entries_.push_back(std::move(entry));
    }
    ids();
  }

  const GgufEntry* find(const std::string& key) const {
    const auto found =
        std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry.key == key; });
    return found == entries_.end() ? nullptr : &*found;
  }
  std::optional<int64_t> said(const std::string& key) const {
    const GgufEntry* const entry = find(key);
    return entry == nullptr ? std::nullopt : std::optional<int64_t>(std::get<uint32_t>(entry->value));
  }
  void id(const char* key, const std::optional<int64_t>& id) {
    const std::string whole = std::string("tokenizer.ggml.") + key;
    if (!id || *id < 0 || *id >= config_->vocab_size || find(whole) != nullptr) return;
    entries_.push_back({whole, static_cast<uint32_t>(*id)});
  }

  // What the tokenizer's files leave open; and what ends a turn beside what ends a text.
  void ids() {
    std::vector<int64_t> ends = config_->eos_token_ids;
    for (const int64_t end : generation_ends()) {
      if (std::find(ends.begin(), ends.end(), end) == ends.end()) ends.push_back(end);
    }
    id("bos_token_id", config_->bos_token_id);
    if (!ends.empty()) id("eos_token_id", ends.front());
    id("padding_token_id", config_->pad_token_id);
    const auto text_end = said("tokenizer.ggml.eos_token_id");
    if (text_end) std::erase(ends, *text_end);
    if (ends.size() == 1) id("eot_token_id", ends.front());
    // llama.cpp finds the others by their names, where these are known.
    if (ends.size() > 1) {
      notes_.push_back(fmt::format("{} tokens beside EOS end a text: GGUF cannot list them", ends.size()));
    }
  }

  std::vector<int64_t> generation_ends() const {
    const auto found = files_.find("generation_config.json");
    if (found == files_.end()) return {};
    const Json config = Json::parse(found->second, nullptr, /*allow_exceptions=*/false);
    if (!config.is_object() || !config.contains("eos_token_id")) return {};
    const Json& value = config["eos_token_id"];
    std::vector<int64_t> ids;
    for (const Json& id : value.is_array() ? value : Json::array({value})) {
      if (id.is_number_integer() && id.get<int64_t>() >= 0) ids.push_back(id.get<int64_t>());
    }
    return ids;
  }

  // One, or a list of some with names, of which the one named "default" is for chats.
  void chat_templates() {
    constexpr const char* key = "tokenizer.chat_template";
    if (const auto own = files_.find("chat_template.jinja"); own != files_.end()) {
      entries_.push_back({key, own->second});
      return;
    }
    const auto found = files_.find("tokenizer_config.json");
    if (found == files_.end()) return;
    const Json config = Json::parse(found->second, nullptr, /*allow_exceptions=*/false);
    if (!config.is_object() || !config.contains("chat_template")) return;
    const Json& chat = config["chat_template"];
    if (chat.is_string()) entries_.push_back({key, chat.get<std::string>()});
    if (!chat.is_array()) return;
    std::vector<std::string> names;
    for (const Json& one : chat) {
      if (!one.is_object() || !one.contains("name") || !one["name"].is_string() || !one.contains("template") ||
          !one["template"].is_string()) {
        continue;
      }
      const auto name = one["name"].get<std::string>();
      const std::string whole = name == "default" ? key : fmt::format("{}.{}", key, name);
      if (name.empty() || find(whole) != nullptr) continue;
      entries_.push_back({whole, one["template"].get<std::string>()});
      if (name != "default") names.push_back(name);
    }
    if (!names.empty()) entries_.push_back({"tokenizer.chat_templates", std::move(names)});
  }

  const ModelSource& model_;
  std::vector<std::string>& notes_;
  const ModelConfig* config_ = nullptr;
  std::map<std::string, std::string> files_;
  std::vector<GgufEntry> entries_;
};

}  // namespace

std::vector<GgufEntry> gguf_metadata(const ModelSource& model, std::vector<std::string>& notes) {
  auto entries = model.gguf() != nullptr ? copied(*model.gguf()) : Builder(model, notes).build();
  entries.push_back({kAlignmentKey, static_cast<uint32_t>(kGgufAlignment)});
  entries.push_back({kVersionKey, kQuantizationVersion});
  return entries;
}

}  // namespace mxq
