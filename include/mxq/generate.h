// Text that a model writes by itself.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "mxq/model.h"
#include "mxq/progress.h"
#include "mxq/run_options.h"

namespace mxq {

/// How the next token is drawn from a model's logits. The same seed draws the same tokens, whatever the thread count;
/// another processor may round logits differently and so come to another text.
struct Sampling {
  /// Logits are divided by it; 0: always the likeliest token.
  double temperature = 1;
  /// Only the likeliest tokens that together reach this probability are drawn from, at least one; 1: all.
  double top_p = 1;
  uint64_t seed = 0;

  friend bool operator==(const Sampling&, const Sampling&) = default;
};

/// A model's own text: sequences that go on for `tokens` tokens, ends of text included. Where models are evaluated they
/// begin with BOS and EOS in turn (one of them, where it has only that); where matrices are fitted and probed, with a
/// token drawn evenly from the vocabulary (behind BOS, if the tokenizer adds it).
struct SelfText {
  int64_t sequences = 8;
  int64_t tokens = 256;
  Sampling sampling;
  /// Of the first sequences, one each, instead of sampling.top_p.
  std::vector<double> first_top_p = {};

  friend bool operator==(const SelfText&, const SelfText&) = default;
};

struct GenerateOptions {
  int64_t max_tokens = 128;
  Sampling sampling{.temperature = 0};
  RunOptions run;
};

struct Generation {
  std::string text;          // without the prompt
  std::vector<int32_t> ids;  // likewise; the end-of-text token included
  int64_t prompt_tokens = 0;
  bool ended = false;  // by the model, with its end-of-text token
  /// The text ended, and the model has a template for chats, which generate() does not apply.
  bool has_chat_template = false;
  double prompt_seconds = 0, seconds = 0;
};

/// Continues `prompt` (special tokens in it count as such; empty: BOS or EOS stands for it). `on_text` gets the text as
/// it comes, in whole characters. Throws Error(usage) for options out of range, and whatever reading the model, its
/// tokenizer and running it throw.
Generation generate(const Model& model, const std::string& prompt, const GenerateOptions& options = {},
                    const std::function<void(std::string_view)>& on_text = {}, Progress* progress = nullptr);

}  // namespace mxq
