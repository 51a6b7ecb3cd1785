// Parts of tokenizer.json, for tests.
#pragma once

#include <nlohmann/json.hpp>

namespace mxq {

inline nlohmann::json added(int id, const char* content, bool special = true) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

/// Vocabulary a b c Ġ ab abc Ġab 1 2 Ã © Ċ, added tokens 12 to 14.
inline nlohmann::json byte_level() {
  using Json = nlohmann::json;
  Json vocabulary;
  int id = 0;
  for (const char* token : {"a", "b", "c", "Ġ", "ab", "abc", "Ġab", "1", "2", "Ã", "©", "Ċ"}) vocabulary[token] = id++;
  Json stripping = added(14, "<m>");
  stripping["lstrip"] = stripping["rstrip"] = true;
  const Json bytes{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  return {{"version", "1.0"},
          {"added_tokens", {added(12, "<s>"), added(13, "<s>>", false), stripping}},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "Sequence"}, {"pretokenizers", {Json{{"type", "Digits"}, {"individual_digits", true}}, bytes}}}},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", {Json{{"SpecialToken", {{"id", "<s>"}}}}, Json{{"Sequence", {{"id", "A"}}}}}},
            {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {12}}}}}}}},
          {"decoder", bytes},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"a b", "ab c", "Ġ ab"}}}}};
}

}  // namespace mxq
