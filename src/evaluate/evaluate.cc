// The public functions: files in, figures out.
#include "mxq/evaluate.h"

#include <fmt/format.h>

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
#include "model/model_state.h"
#include "model/model_tokenizer.h"
#include "mxq/error.h"
#include "mxq/output.h"
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

std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text, Recipe recipe, Progress& progress) {
  // llama.cpp reads files without their last line break.
  if (recipe == Recipe::llama_cpp && text.ends_with('\n')) text.remove_suffix(1);
  EncodeOptions options = encode_options(recipe);
  options.progress = &progress;
  return tokenizer.encode(text, options);
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
const Tokenizer* tokenizer_if_any(const Model& model) {
  try {
    return &model.state().tokenizer();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
    return nullptr;
  }
}

void require_same_tokens(const Model& model, const Model& base, bool same) {
  const int64_t words = vocabulary(model.state().source()), base_words = vocabulary(base.state().source());
  if (same && words == base_words) return;
  throw Error(ErrorCode::usage, "compare " + model.path().string() + " with " + base.path().string(),
              same ? fmt::format("vocabularies of {} and {} tokens", words, base_words)
                   : "their tokenizers make different tokens of the text",
              "two models with the same tokens");
}

LogitFileKey key_of(const Model& base, const Windows& windows, Compute compute, Progress& progress) {
  ContentHash hash;
  hash.add(base.state().content_id(&progress));
  LogitFileKey key{"", 0, vocabulary(base.state().source())};
  hash.add(compute_name(compute));
  for (const Window& window : windows.windows) {
    hash.add(std::as_bytes(std::span(window.ids)));
    hash.add(std::as_bytes(std::span(&window.first, 1)));
    key.rows += window.predictions();
  }
  key.hash = hash.hex();
  return key;
}

/// On windows that are cut already. Both models are in memory, but where `base_logits` names a file that holds what the
/// base says.
Comparison compare_on(const Model& model, const Model& base, const Windows& windows, const RunOptions& run,
                      int64_t batch_tokens, Progress& progress, const fs::path& base_logits) {
  const auto compare_with = [&](const BaseLogits& logits) {
    Runner& runner = model.state().runner(run, progress);
    Comparison result = compare(runner, logits, windows, batch_tokens, progress);
    result.model.weight_bytes = stored_bytes(model.state().source());
    result.base.weight_bytes = stored_bytes(base.state().source());
    return result;
  };
  if (base_logits.empty()) return compare_with({.runner = &base.state().runner(run, progress)});
  const OutputFile kept(base_logits, kLogitFile, {{"the model", model.path()}, {"the base", base.path()}});
  const LogitFileKey key = key_of(base, windows, run.compute, progress);
  if (fs::exists(base_logits)) {
    base.state().unload();
    const LogitFile file(base_logits, key, progress);
    return compare_with({.file = &file});
  }
  LogitFileWriter writer(kept, key);
  Comparison result = compare_with({.runner = &base.state().runner(run, progress), .keep = &writer});
  writer.commit();
  return result;
}

/// The text that a model samples to be scored on, remembered by the model.
Windows self_windows(const Model& model, const SelfText& text, const RunOptions& run, Progress& progress) {
  Model::State& state = model.state();
  const auto prompts = end_token_prompts(state.token_facts());
  auto& sampled = state.sampled[fmt::format("scored {} {}", compute_name(run.compute), describe(text))];
  if (sampled.sequences.empty()) {
    sampled.sequences = sample_sequences(state.runner(run, progress), prompts, text, progress);
  }
  return whole_sequences(sampled.sequences);
}

}  // namespace

std::string_view recipe_name(Recipe recipe) {
  return name_of(kRecipes, recipe);
}
Recipe parse_recipe(std::string_view name) {
  return parse_named(kRecipes, "recipe", name);
}

Perplexity measure_perplexity(const Model& model, const std::string& text, const PerplexityOptions& options,
                              Progress* progress_or_null) {
  Progress& progress = or_silent(progress_or_null);
  const Tokenizer& tokenizer = model.state().tokenizer();
  const Windows windows = cut(tokenizer, encode(tokenizer, text, options.recipe, progress), options);
  Runner& runner = model.state().runner(options.run, progress);
  Perplexity result = perplexity_of(runner, windows, batch_of(options), progress);
  result.weight_bytes = stored_bytes(model.state().source());
  return result;
}

Perplexity measure_perplexity(const Model& model, const SelfText& text, const RunOptions& run,
                              Progress* progress_or_null) {
  Progress& progress = or_silent(progress_or_null);
  const Windows windows = self_windows(model, text, run, progress);
  Perplexity result = perplexity_of(model.state().runner(run, progress), windows, kDefaultBatch, progress);
  result.weight_bytes = stored_bytes(model.state().source());
  result.sample_note = model.state().token_facts().note;
  return result;
}

Comparison compare_models(const Model& model, const Model& base, const std::string& text,
                          const PerplexityOptions& options, Progress* progress_or_null, const fs::path& base_logits) {
  Progress& progress = or_silent(progress_or_null);
  const Tokenizer& tokenizer = base.state().tokenizer();
  require_same_tokens(model, base, true);
  const auto ids = encode(tokenizer, text, options.recipe, progress);
  if (const Tokenizer* own = tokenizer_if_any(model)) {
    require_same_tokens(model, base, encode(*own, text, options.recipe, progress) == ids);
  }
  return compare_on(model, base, cut(tokenizer, ids, options), options.run, batch_of(options), progress, base_logits);
}

Comparison compare_models(const Model& model, const Model& base, const SelfText& text, const RunOptions& run,
                          Progress* progress_or_null, const fs::path& base_logits) {
  Progress& progress = or_silent(progress_or_null);
  require_same_tokens(model, base, true);
  Comparison result =
      compare_on(model, base, self_windows(base, text, run, progress), run, kDefaultBatch, progress, base_logits);
  result.model.sample_note = base.state().token_facts().note;
  return result;
}

}  // namespace mxq
