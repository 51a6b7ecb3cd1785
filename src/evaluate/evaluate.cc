// The public functions: files in, figures out.
#include "mxq/evaluate.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/content_hash.h"
#include "base/named.h"
#include "evaluate/divergence.h"
#include "evaluate/perplexity.h"
#include "evaluate/sample.h"
#include "evaluate/score.h"
#include "evaluate/windows.h"
#include "model/model_tokenizer.h"
#include "mxq/error.h"
#include "mxq/tokenizer.h"

namespace mxq {

namespace {

constexpr Named<Recipe> kRecipes[] = {{"hf", Recipe::hf}, {"llama.cpp", Recipe::llama_cpp}};

namespace fs = std::filesystem;

EncodeOptions encode_options(Recipe recipe) {
  EncodeOptions options;
  // To llama-perplexity a text that spells out a special token is plain text.
  options.parse_special = recipe == Recipe::hf;
  return options;
}

std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text, Recipe recipe) {
  // llama.cpp reads files without their last line break.
  if (recipe == Recipe::llama_cpp && text.ends_with('\n')) text.remove_suffix(1);
  return tokenizer.encode(text, encode_options(recipe));
}

Windows cut(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, const PerplexityOptions& options) {
  return cut_windows(ids, options, tokenizer.adds_bos() ? tokenizer.bos().value_or(-1) : -1);
}

int64_t stored_bytes(const ModelSource& model) {
  int64_t bytes = 0;
  for (const auto& tensor : model.tensors()) bytes += model.stored_bytes(tensor);
  return bytes;
}

/// A model that may come without tokenizer, as one that is compared with its original does.
std::unique_ptr<Tokenizer> tokenizer_if_any(const ModelSource& model) {
  try {
    return open_model_tokenizer(model);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
    return nullptr;
  }
}

std::unique_ptr<Decoder> load(const ModelSource& model, const RunOptions& run, Progress& progress) {
  progress.begin("load", 1);
  auto decoder = std::make_unique<Decoder>(model, run);
  progress.end();
  return decoder;
}

void require_same_tokens(const ModelSource& model, const ModelSource& base, bool same) {
  if (same && vocabulary(model) == vocabulary(base)) return;
  throw Error(ErrorCode::usage, "compare " + model.path().string() + " with " + base.path().string(),
              same ? fmt::format("vocabularies of {} and {} tokens", vocabulary(model), vocabulary(base))
                   : "their tokenizers make different tokens of the text",
              "two models with the same tokens");
}

Comparison compare_on(const ModelSource& model, const ModelSource& base, const BaseLogits& logits,
                      const Windows& windows, const RunOptions& run, int64_t batch_tokens, Progress& progress) {
  const auto decoder = load(model, run, progress);
  Comparison result = compare(*decoder, logits, windows, batch_tokens, progress);
  result.model.weight_bytes = stored_bytes(model);
  result.base.weight_bytes = stored_bytes(base);
  return result;
}

LogitFileKey key_of(const ModelSource& base, const Windows& windows, Compute compute) {
  ContentHash hash;
  base.hash_all(hash);
  LogitFileKey key{"", 0, vocabulary(base)};
  hash.add(compute_name(compute));
  for (const Window& window : windows.windows) {
    hash.add(std::as_bytes(std::span(window.ids)));
    hash.add(std::as_bytes(std::span(&window.first, 1)));
    key.rows += window.predictions();
  }
  key.hash = hash.hex();
  return key;
}

}  // namespace

std::string_view recipe_name(Recipe recipe) {
  return name_of(kRecipes, recipe);
}
Recipe parse_recipe(std::string_view name) {
  return parse_named(kRecipes, "recipe", name);
}

Perplexity measure_perplexity(const fs::path& path, const std::string& text, const PerplexityOptions& options,
                              Progress* progress_or_null) {
  Progress& progress = or_silent(progress_or_null);
  const auto model = open_model(path);
  const auto tokenizer = open_model_tokenizer(*model);
  const Windows windows = cut(*tokenizer, encode(*tokenizer, text, options.recipe), options);
  const auto decoder = load(*model, options.run, progress);
  Perplexity result = perplexity_of(*decoder, windows, batch_of(options), progress);
  result.weight_bytes = stored_bytes(*model);
  return result;
}

Perplexity measure_perplexity(const fs::path& path, const SelfText& text, const RunOptions& run,
                              Progress* progress_or_null) {
  Progress& progress = or_silent(progress_or_null);
  const auto model = open_model(path);
  const auto prompts = end_token_prompts(token_facts(*model));
  const auto decoder = load(*model, run, progress);
  const Windows windows = whole_sequences(sample_sequences(*decoder, prompts, text, progress));
  Perplexity result = perplexity_of(*decoder, windows, kDefaultBatch, progress);
  result.weight_bytes = stored_bytes(*model);
  return result;
}

Comparison compare_models(const fs::path& path, const fs::path& base_path, const std::string& text,
                          const PerplexityOptions& options, Progress* progress_or_null, const fs::path& base_logits) {
  Progress& progress = or_silent(progress_or_null);
  const auto model = open_model(path), base = open_model(base_path);
  const auto tokenizer = open_model_tokenizer(*base);
  require_same_tokens(*model, *base, true);
  const auto ids = encode(*tokenizer, text, options.recipe);
  if (const auto own = tokenizer_if_any(*model)) {
    require_same_tokens(*model, *base, encode(*own, text, options.recipe) == ids);
  }
  const Windows windows = cut(*tokenizer, ids, options);
  const auto compare_with = [&](const BaseLogits& logits) {
    return compare_on(*model, *base, logits, windows, options.run, batch_of(options), progress);
  };
  if (base_logits.empty()) {
    const auto decoder = load(*base, options.run, progress);
    return compare_with({.decoder = decoder.get()});
  }
  const LogitFileKey key = key_of(*base, windows, options.run.compute);
  if (fs::exists(base_logits)) {
    const LogitFile file(base_logits, key);
    return compare_with({.file = &file});
  }
  LogitFileWriter writer(base_logits, key);
  const auto decoder = load(*base, options.run, progress);
  Comparison result = compare_with({.decoder = decoder.get(), .keep = &writer});
  writer.commit();
  return result;
}

Comparison compare_models(const fs::path& path, const fs::path& base_path, const SelfText& text, const RunOptions& run,
                          Progress* progress_or_null) {
  Progress& progress = or_silent(progress_or_null);
  const auto model = open_model(path), base = open_model(base_path);
  require_same_tokens(*model, *base, true);
  const auto prompts = end_token_prompts(token_facts(*base));
  const auto decoder = load(*base, run, progress);
  const Windows windows = whole_sequences(sample_sequences(*decoder, prompts, text, progress));
  return compare_on(*model, *base, {.decoder = decoder.get()}, windows, run, kDefaultBatch, progress);
}

}  // namespace mxq
