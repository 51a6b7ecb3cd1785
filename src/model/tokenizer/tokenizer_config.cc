#include "model/tokenizer/tokenizer_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "model/tokenizer/json_tree.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr std::string_view kPlainClass = "PreTrainedTokenizer";
constexpr std::string_view kAdditional = "additional_special_tokens";

// In the order in which transformers adds them.
constexpr std::array<std::string_view, 8> kSpecialNames{"bos_token", "eos_token", "unk_token",  "sep_token",
                                                        "pad_token", "cls_token", "mask_token", kAdditional};

struct TokenizerClass {
  std::string_view name;                        // without "Fast"
  std::string_view bos, eos, unknown, padding;  // where the files do not name them
  bool has_template = false, adds_bos = false;  // likewise
};

constexpr std::array<TokenizerClass, 10> kClasses{{
    {kPlainClass, "", "", "", ""},
    {"LlamaTokenizer", "<s>", "</s>", "<unk>", "", true, true},
    {"CodeLlamaTokenizer", "<s>", "</s>", "<unk>", "", true, true},
    {"GemmaTokenizer", "<bos>", "<eos>", "<unk>", "<pad>", true, true},
    {"CohereTokenizer", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", "", true, true},
    {"GPTNeoXTokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", "", true, false},
    {"GPT2Tokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", ""},
    {"CodeGenTokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", ""},
    {"Qwen2Tokenizer", "", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>"},
    {"BloomTokenizer", "<s>", "</s>", "<unk>", "<pad>"},
}};

// CodeLlama's own, special where the files do not say otherwise.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kCodeLlamaTokens{
    {{"prefix_token", "▁<PRE>"}, {"middle_token", "▁<MID>"}, {"suffix_token", "▁<SUF>"}, {"eot_token", "▁<EOT>"}}};

// The class of a model_type whose files name none; the plain one for all others.
struct ModelTypes {
  std::string_view name;
  std::string_view types;  // each between blanks
};
constexpr std::array<ModelTypes, 9> kModelTypes{{
    {"BloomTokenizer", " bloom "},
    {"LlamaTokenizer",
     " arcee aria chameleon deepseek_v2 deepseek_v3 diffllama ernie4_5 ernie4_5_moe jamba jetmoe llama llama4 "
     "llama4_text llava llava_next llava_onevision ministral mistral mistral3 mixtral mllama paligemma persimmon phi3 "
     "phimoe zamba zamba2 "},
    {"CodeLlamaTokenizer", " code_llama "},
    {"CohereTokenizer", " aya_vision cohere cohere2 "},
    {"GemmaTokenizer", " gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma shieldgemma2 t5gemma "},
    {"GPTNeoXTokenizer", " falcon_mamba gpt_neox mamba mamba2 mpt olmo olmo2 olmoe rwkv stablelm xlstm "},
    {"GPT2Tokenizer",
     " dbrx emu3 exaone4 flex_olmo gpt2 gpt_bigcode gpt_neo gptj granite granitemoe granitemoehybrid granitemoeshared "
     "minimax olmo3 opt starcoder2 "},
    {"CodeGenTokenizer", " codegen phi "},
    {"Qwen2Tokenizer",
     " internvl qwen2 qwen2_5_omni qwen2_5_vl qwen2_audio qwen2_moe qwen2_vl qwen3 qwen3_moe qwen3_next qwen3_vl "
     "qwen3_vl_moe "},
}};

const TokenizerClass* find_class(std::string_view name) {
  if (name.ends_with("Fast")) name.remove_suffix(4);
  if (name == "TokenizersBackend") name = kPlainClass;  // its name in transformers 5
  const auto found = std::find_if(kClasses.begin(), kClasses.end(), [&](const auto& c) { return c.name == name; });
  return found == kClasses.end() ? nullptr : &*found;
}

std::string_view class_of_model_type(std::string_view type) {
  for (const auto& [name, types] : kModelTypes) {
    if (!type.empty() && types.find(fmt::format(" {} ", type)) != std::string_view::npos) return name;
  }
  return kPlainClass;
}

[[noreturn]] void invalid(const std::string& operation, std::string given, std::string supported = {}) {
  throw Error(ErrorCode::invalid_file, operation, std::move(given), std::move(supported));
}
[[noreturn]] void unsupported(const std::string& operation, std::string given, std::string supported = {}) {
  throw Error(ErrorCode::unsupported, operation, std::move(given), std::move(supported));
}

JsonTree parse(const SideFile& file) {
  JsonTree tree = parse_json_tree(file.text, "read " + file.source);
  if (!tree.is_object()) invalid("read " + file.source, "no JSON object");
  return tree;
}

bool flag(const JsonTree& object, std::string_view key, bool otherwise, const std::string& operation) {
  const JsonTree* value = find_value(object, key);
  if (!value) return object.contains(key) ? false : otherwise;  // Python takes null for false
  if (!value->is_boolean()) invalid(operation, fmt::format("'{}' is not true or false", key));
  return value->get<bool>();
}

std::string text_or(const JsonTree& object, std::string_view key, const std::string& operation) {
  const JsonTree* value = find_value(object, key);
  if (!value) return {};
  if (!value->is_string()) invalid(operation, fmt::format("'{}' is not a string", key));
  return value->get<std::string>();
}

}  // namespace

class TokenizerConfig::Reader {
 public:
  Reader(TokenizerConfig& config, const TokenizerSideFiles& files, const std::vector<AddedToken>& file_tokens)
      : config_(config), files_(files), file_tokens_(file_tokens) {}

  void read() {
    const bool has_config = !files_.tokenizer_config.source.empty();
    if (has_config) fields_ = parse(files_.tokenizer_config);
    config_.operation_ = "read " + (has_config                           ? files_.tokenizer_config.source
                                    : files_.model_config.source.empty() ? "tokenizer.json"
                                                                         : files_.model_config.source);
    tokenizer_class();
    specials();
    settings();
  }

 private:
  const std::string& operation() const { return config_.operation_; }

  void tokenizer_class() {
    std::string name = text_or(fields_, "tokenizer_class", operation());
    if (name.empty() && !files_.model_config.source.empty()) {
      const JsonTree model = parse(files_.model_config);
      const std::string in = "read " + files_.model_config.source;
      name = text_or(model, "tokenizer_class", in);
      if (name.empty()) name = class_of_model_type(text_or(model, "model_type", in));
    }
    const TokenizerClass* found = name.empty() ? &kClasses.front() : find_class(name);
    if (!found) {
      std::string known;
      for (const auto& c : kClasses) known += fmt::format("{}{}", known.empty() ? "" : ", ", c.name);
      unsupported(operation(), fmt::format("the tokenizer_class is {}", in_quotes(name)), known);
    }
    config_.class_ = found->name;
    class_defaults_ = *found;
  }

  // ---- tokens

  NamedToken token(const JsonTree& value, std::string_view key, const std::string& in, bool special) const {
    NamedToken result;
    if (value.is_string()) {
      result.token.content = value.get<std::string>();
      result.token.special = false;
      return result;
    }
    if (!value.is_object()) invalid(in, fmt::format("'{}' is neither a string nor an object", key));
    result.bare = false;
    const JsonTree* content = find_value(value, "content");
    if (!content || !content->is_string()) invalid(in, fmt::format("'{}' has no content", key));
    result.token.content = content->get<std::string>();
    result.token.special = special || flag(value, "special", false, in);
    result.token.lstrip = flag(value, "lstrip", false, in);
    result.token.rstrip = flag(value, "rstrip", false, in);
    result.token.single_word = flag(value, "single_word", false, in);
    result.normalized_said = find_value(value, "normalized") != nullptr;
    result.token.normalized = flag(value, "normalized", false, in);
    for (const auto& [name, setting] : value.items()) {
      if (name != "content" && name != "special" && name != "lstrip" && name != "rstrip" && name != "single_word" &&
          name != "normalized" && name != "__type") {
        unsupported(in, fmt::format("'{}' has the setting {}", key, in_quotes(name)));
      }
    }
    return result;
  }

  std::vector<NamedToken> tokens(const JsonTree& value, std::string_view key, const std::string& in,
                                 bool special) const {
    if (!value.is_array()) invalid(in, fmt::format("'{}' is not a list", key));
    std::vector<NamedToken> result;
    for (const JsonTree& item : value) result.push_back(token(item, key, in, special));
    return result;
  }

  void set(std::string_view key, std::vector<NamedToken> values) {
    config_.special(key).tokens = std::move(values);
    said_.emplace_back(key);
  }
  bool is_said(std::string_view key) const { return std::find(said_.begin(), said_.end(), key) != said_.end(); }

  void read_specials(const JsonTree& fields, const std::string& in, bool special) {
    for (const std::string_view key : kSpecialNames) {
      if (!fields.contains(key)) continue;
      const JsonTree* value = find_value(fields, key);
      if (!value) {
        set(key, {});
      } else if (key != kAdditional) {
        set(key, {token(*value, key, in, special)});
      } else {
        // Those of the older file come behind. A list that names a token twice adds it twice: the last one counts.
        const auto before = config_.special(key).tokens;
        auto all = before;
        for (auto& more : tokens(*value, key, in, special)) {
          const auto same = [&](const NamedToken& t) { return t.token.content == more.token.content; };
          if (std::none_of(before.begin(), before.end(), same)) all.push_back(std::move(more));
        }
        set(key, std::move(all));
      }
    }
  }

  void specials() {
    for (const std::string_view name : kSpecialNames) config_.specials_.push_back({std::string(name), {}});
    read_specials(fields_, operation(), false);
    if (fields_.contains("added_tokens_decoder")) {
      added_tokens_decoder();
    } else {
      forerunners();
    }
    // Names of tokens that the added ones settle.
    std::map<std::string_view, const NamedToken*> settled;
    for (const NamedToken& added : config_.decoder_) settled[added.token.content] = &added;
    for (Special& special : config_.specials_) {
      if (special.name == kAdditional || special.tokens.empty()) continue;
      const auto found = settled.find(special.tokens.front().token.content);
      if (found != settled.end()) special.tokens.front() = *found->second;
    }
    class_tokens();
    extra_special_tokens();
  }

  void added_tokens_decoder() {
    const JsonTree* decoder = find_value(fields_, "added_tokens_decoder");
    if (!decoder || !decoder->is_object()) invalid(operation(), "'added_tokens_decoder' is no object");
    std::map<uint32_t, NamedToken> by_id;
    for (const auto& [key, value] : decoder->items()) {
      uint32_t id = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc{} || end != key.data() + key.size()) {
        invalid(operation(), fmt::format("'added_tokens_decoder' has the id {}", in_quotes(key)));
      }
      if (!value.is_object()) invalid(operation(), fmt::format("added token {} is no object", id));
      by_id[id] = token(value, "added_tokens_decoder", operation(), false);
    }
    for (auto& [id, token] : by_id) config_.decoder_.push_back(std::move(token));
  }

  // special_tokens_map.json and added_tokens.json of old, and tokenizer.json's own.
  void forerunners() {
    if (!files_.special_tokens_map.source.empty()) {
      read_specials(parse(files_.special_tokens_map), "read " + files_.special_tokens_map.source, true);
    }
    std::map<uint64_t, NamedToken> by_id;
    if (!files_.added_tokens.source.empty()) read_added_tokens(by_id);
    for (const AddedToken& token : file_tokens_) by_id[token.id] = {token, false, true};
    for (auto& [id, token] : by_id) config_.decoder_.push_back(std::move(token));
  }

  void read_added_tokens(std::map<uint64_t, NamedToken>& by_id) const {
    const std::string in = "read " + files_.added_tokens.source;
    const JsonTree added = parse(files_.added_tokens);
    for (const auto& [content, id] : added.items()) {
      if (!id.is_number_unsigned()) invalid(in, fmt::format("token {} has no id", in_quotes(content)));
      NamedToken token;
      token.bare = false;
      token.token.content = content;
      token.token.special = false;
      for (const Special& special : config_.specials_) {
        for (const NamedToken& named : special.tokens) token.token.special |= named.token.content == content;
      }
      by_id[id.get<uint64_t>()] = std::move(token);
    }
  }

  void class_tokens() {
    const auto by_default = [&](std::string_view key, std::string_view content) {
      if (content.empty() || is_said(key)) return;
      NamedToken token;
      token.token.content = content;
      token.token.special = false;
      config_.special(key).tokens = {token};
    };
    by_default("bos_token", class_defaults_.bos);
    by_default("eos_token", class_defaults_.eos);
    by_default("unk_token", class_defaults_.unknown);
    by_default("pad_token", class_defaults_.padding);
    if (config_.class_ == "CodeLlamaTokenizer") {
      for (const auto& [key, content] : kCodeLlamaTokens) {
        NamedToken token;
        token.token.special = false;
        token.token.content = fields_.contains(key) ? text_or(fields_, key, operation()) : std::string(content);
        if (!token.token.content.empty()) config_.special(kAdditional).tokens.push_back(token);
      }
    }
    if (config_.class_ == "Qwen2Tokenizer") {
      for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
        for (NamedToken& token : config_.special(key).tokens) {
          if (!token.bare) continue;
          token.bare = false;
          token.token.special = token.normalized_said = true;
        }
      }
    }
  }

  // Of models with images or sound: names -> tokens; transformers 5 has a list.
  void extra_special_tokens() {
    const JsonTree* extra = find_value(fields_, "extra_special_tokens");
    if (!extra) return;
    Special more{"extra_special_tokens", {}};
    if (extra->is_array()) {
      more.tokens = tokens(*extra, more.name, operation(), false);
    } else if (extra->is_object()) {
      for (const auto& [name, value] : extra->items()) more.tokens.push_back(token(value, name, operation(), false));
    } else {
      invalid(operation(), "'extra_special_tokens' is neither an object nor a list");
    }
    config_.specials_.push_back(std::move(more));
  }

  // ---- settings

  void settings() {
    config_.adds_bos_ = flag(fields_, "add_bos_token", class_defaults_.adds_bos, operation());
    config_.adds_eos_ = flag(fields_, "add_eos_token", false, operation());
    config_.splits_special_ = flag(fields_, "split_special_tokens", false, operation());
    const JsonTree* legacy = find_value(fields_, "legacy");
    config_.legacy_ = legacy ? flag(fields_, "legacy", true, operation()) : true;
    if (find_value(fields_, "add_prefix_space")) {
      config_.prefix_space_ = flag(fields_, "add_prefix_space", false, operation());
    } else {
      config_.prefix_space_null_ = fields_.contains("add_prefix_space");
    }
    for (const char* key : {"from_slow", "fix_mistral_regex"}) {
      if (flag(fields_, key, false, operation())) unsupported(operation(), fmt::format("'{}' is true", key), "false");
    }
    if (config_.class_ == "CodeGenTokenizer" && config_.adds_bos_) {
      unsupported(operation(), "'add_bos_token' is true for the tokenizer_class 'CodeGenTokenizer'", "false");
    }
    if (!config_.has_template()) return;
    for (const auto& [adds, key] : {std::pair(config_.adds_bos_, "bos"), std::pair(config_.adds_eos_, "eos")}) {
      if (adds && !config_.name(fmt::format("{}_token", key))) {
        invalid(operation(), fmt::format("'add_{0}_token' is true, and there is no {0}_token", key));
      }
    }
  }

  TokenizerConfig& config_;
  const TokenizerSideFiles& files_;
  const std::vector<AddedToken>& file_tokens_;
  JsonTree fields_ = JsonTree::object();
  TokenizerClass class_defaults_;
  std::vector<std::string> said_;
};

std::vector<std::string> unknown_tokenizer_fields(std::string_view tokenizer_config) {
  static const std::unordered_set<std::string_view> known{
      // read above
      "tokenizer_class", "added_tokens_decoder", "extra_special_tokens", "add_bos_token", "add_eos_token",
      "split_special_tokens", "legacy", "add_prefix_space", "from_slow", "fix_mistral_regex", "prefix_token",
      "middle_token", "suffix_token", "eot_token",
      // of chats, of batches, of decoding, of where files lie
      "chat_template", "use_default_system_prompt", "model_max_length", "max_length", "stride", "padding_side",
      "truncation_side", "truncation_strategy", "pad_to_multiple_of", "pad_token_type_id", "model_input_names",
      "return_token_type_ids", "clean_up_tokenization_spaces", "spaces_between_special_tokens", "errors",
      "name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file", "merges_file", "auto_map",
      "processor_class", "use_fast", "sp_model_kwargs", "fill_token", "backend", "is_local", "device_map",
      "transformers_version", "model_specific_special_tokens", "image_token", "audio_token", "video_token"};
  const auto fields = nlohmann::ordered_json::parse(tokenizer_config, nullptr, /*allow_exceptions=*/false);
  std::vector<std::string> unknown;
  if (!fields.is_object()) return unknown;
  for (const auto& [name, value] : fields.items()) {
    const bool special = std::find(kSpecialNames.begin(), kSpecialNames.end(), name) != kSpecialNames.end();
    if (!special && !known.contains(name)) unknown.push_back(name);
  }
  return unknown;
}

TokenizerConfig::TokenizerConfig(const TokenizerSideFiles& files, const std::vector<AddedToken>& file_tokens) {
  Reader(*this, files, file_tokens).read();
}

TokenizerConfig::Special& TokenizerConfig::special(std::string_view name) {
  return *std::find_if(specials_.begin(), specials_.end(), [&](const Special& s) { return s.name == name; });
}

std::optional<std::string> TokenizerConfig::name(std::string_view special) const {
  for (const Special& s : specials_) {
    if (s.name == special && !s.tokens.empty()) return s.tokens.front().token.content;
  }
  return std::nullopt;
}

void TokenizerConfig::add_tokens(AddedVocabulary& vocabulary) const {
  std::vector<const NamedToken*> wanted;
  std::unordered_set<std::string_view> decoder_names, special_names;
  for (const NamedToken& token : decoder_) {
    wanted.push_back(&token);
    decoder_names.insert(token.token.content);
  }
  for (const Special& special : specials_) {
    const auto known = special_names;
    for (const NamedToken& token : special.tokens) {
      const std::string& content = token.token.content;
      if (content.empty() || known.contains(content)) continue;
      special_names.insert(content);
      // A bare name changes nothing about a token that is there.
      if (token.bare && (vocabulary.is_added(content) || decoder_names.contains(content))) continue;
      wanted.push_back(&token);
    }
  }
  for (const NamedToken* named : wanted) {
    AddedToken token = named->token;
    token.special |= special_names.contains(token.content);
    if (!named->normalized_said) token.normalized = !token.special;
    vocabulary.add(std::move(token));
  }
}

bool TokenizerConfig::has_template() const {
  return find_class(class_)->has_template;
}

std::optional<bool> TokenizerConfig::byte_level_prefix_space() const {
  if (class_ == "LlamaTokenizer" || prefix_space_null_) return std::nullopt;
  return prefix_space_.value_or(false);
}

bool TokenizerConfig::prefix_space_everywhere() const {
  return (class_ == "BloomTokenizer" || class_ == "CohereTokenizer") && prefix_space_.value_or(false);
}

std::optional<TokenizerConfig::Respaced> TokenizerConfig::respaced() const {
  if (class_ != "LlamaTokenizer" || !prefix_space_) return std::nullopt;
  return Respaced{*prefix_space_, legacy_};
}

}  // namespace mxq
