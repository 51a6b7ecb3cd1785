// Drawing tokens from logits.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "model/model_tokenizer.h"
#include "model/runner/runner.h"
#include "mxq/generate.h"

namespace mxq {

/// In [0, 1). The standard library's distributions differ between libraries; its generators do not.
double uniform(std::mt19937_64& random);

/// Draws the tokens of one sequence.
class Sampler {
 public:
  /// Sequences of one seed are told apart by `stream`. Throws Error(usage) for a temperature that is negative or none,
  /// or a top_p outside (0, 1].
  Sampler(const Sampling& sampling, uint64_t stream);

  /// The next token; `logits` [n] are overwritten.
  int32_t pick(float* logits, int64_t n);

 private:
  Sampling sampling_;
  std::mt19937_64 random_;
  std::vector<int32_t> order_;
};

/// Prompts of one token, BOS and EOS: where the model's own texts begin. Throws Error(unsupported) where there is none.
std::vector<std::vector<int32_t>> end_token_prompts(const TokenFacts& tokens);

/// True for a text that mostly repeats itself: less than half of its runs of four tokens are distinct (of texts with 32
/// such runs or more). What a model says of itself on such a text says little about others.
bool is_degenerate(std::span<const int32_t> ids);

/// What sequences are to begin with: a token drawn evenly from the vocabulary, by the text's seed, behind BOS where
/// texts of this model begin with it. One prompt a sequence (LLM-QAT, arXiv 2305.17888, begins its texts like that).
std::vector<std::vector<int32_t>> random_prompts(const TokenFacts& tokens, const SelfText& text);

/// All that the sequences of one model depend on, as a line that tells texts apart.
std::string describe(const SelfText& text);

/// SelfText's sequences; they begin with the prompts in turn and are longer than those by text.tokens. As many at a
/// time as have 1 GiB of keys and values together. Progress: phase "sample" in tokens. Throws Error(usage) for options
/// out of range.
std::vector<std::vector<int32_t>> sample_sequences(Runner& runner, const std::vector<std::vector<int32_t>>& prompts,
                                                   const SelfText& text, Progress& progress);

}  // namespace mxq
