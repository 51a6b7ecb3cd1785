// tokenizer.json, read but not understood.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/tokenizer/json_tree.h"

namespace mxq {

/// The file as it stands: the vocabulary and the merges, which are long, apart from the rest.
struct TokenizerDocument {
  JsonTree rest;
  std::vector<std::pair<std::string, uint64_t>> vocabulary;
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<std::pair<std::string, double>> scores;  // of Unigram's vocabulary, by id
  bool scores_listed = false;
  /// What is wrong with the vocabulary, if it is to be one of ids, or of scores.
  std::string not_ids, not_scores;
};

/// Throws Error(invalid_file), headed by `operation`, for what is no JSON object, and for merges that are no pairs.
TokenizerDocument read_tokenizer_document(std::string_view text, const std::string& operation);

}  // namespace mxq
