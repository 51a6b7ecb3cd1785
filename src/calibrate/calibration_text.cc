#include "calibrate/calibration_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "base/content_hash.h"
#include "evaluate/sample.h"
#include "format/cache_file.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {

namespace {

/// Raised whenever the same options sample other text than before.
constexpr int kSampleVersion = 4;

std::filesystem::path sample_path(Model::State& model, Compute compute, const SelfText& text,
                                  const std::filesystem::path& cache, Progress& progress) {
  const TokenFacts& tokens = model.token_facts();
  ContentHash hash;
  hash.add(model.content_id(&progress));
  hash.add(fmt::format("{} {} {} {} v{}", tokens.count, tokens.adds_bos ? tokens.bos.value_or(-1) : -1, describe(text),
                       compute_name(compute), kSampleVersion));
  return cache / "samples" / (hash.hex() + ".json");
}

CalibrationTokens file_text(Model::State& model, const CalibrationText& calibration, Progress& progress) {
  const Tokenizer& tokenizer = model.tokenizer();
  const EncodeOptions options{.add_bos = false, .add_eos = false, .parse_special = true, .progress = &progress};
  const auto ids = tokenizer.encode(read_text(calibration.file), options);
  const auto all = static_cast<int64_t>(ids.size());
  const int64_t count = std::min(calibration.sequences, all / calibration.tokens);
  if (count == 0) {
    throw Error(ErrorCode::usage, "calibrate on " + calibration.file, fmt::format("{} tokens", all),
                fmt::format("at least {}", calibration.tokens));
  }
  CalibrationTokens text;
  if (count < calibration.sequences) {
    text.note = fmt::format("{} has {} tokens: calibrated on {} of {} sequences of {}", calibration.file, all, count,
                            calibration.sequences, calibration.tokens);
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t spare = all - calibration.tokens, begin = count == 1 ? 0 : spare * i / (count - 1);
    auto& sequence = text.sequences.emplace_back();
    if (tokenizer.adds_bos() && tokenizer.bos()) sequence.push_back(*tokenizer.bos());
    sequence.insert(sequence.end(), ids.begin() + begin, ids.begin() + begin + calibration.tokens);
  }
  return text;
}

SampledText sample_healthy(Model::State& model, Runner& runner, const SelfText& text, Progress& progress) {
  constexpr int kAttempts = 3;
  const auto sample = [&](const SelfText& wanted) {
    return sample_sequences(runner, random_prompts(model.token_facts(), wanted), wanted, progress);
  };
  SampledText result{sample(text), {text.sequences, 0, 0, model.token_facts().note}};
  SelfText again = text;
  for (int attempt = 0;; ++attempt) {
    std::vector<size_t> bad;
    for (size_t i = 0; i < result.sequences.size(); ++i) {
      if (is_degenerate(result.sequences[i])) bad.push_back(i);
    }
    result.health.degenerate = static_cast<int64_t>(bad.size());
    if (bad.empty() || attempt == kAttempts || text.sampling.temperature == 0) return result;
    if (attempt == 0) result.health.drawn_anew = result.health.degenerate;
    again.sequences = result.health.degenerate;
    again.sampling.seed += 0x9e3779b97f4a7c15;  // far from what users pick
    again.first_top_p.clear();
    for (const size_t i : bad) {
      if (i < text.first_top_p.size()) again.first_top_p.push_back(text.first_top_p[i]);
    }
    auto fresh = sample(again);
    for (size_t i = 0; i < bad.size(); ++i) result.sequences[bad[i]] = std::move(fresh[i]);
  }
}

}  // namespace

const SampledText& self_sequences(Model::State& model, Runner& runner, const SelfText& text,
                                  const std::filesystem::path& cache, Progress& progress) {
  SampledText& remembered = model.sampled[fmt::format("own {} {}", compute_name(runner.compute()), describe(text))];
  if (!remembered.sequences.empty()) return remembered;
  std::filesystem::path path;
  if (!cache.empty()) {
    path = sample_path(model, runner.compute(), text, cache, progress);
    if (const auto json = load_cache_file(path)) {
      try {
        SampledText known{json->at("sequences"),
                          {text.sequences, json->at("drawn_anew"), json->at("degenerate"), model.token_facts().note}};
        if (std::ssize(known.sequences) == text.sequences) return remembered = std::move(known);
      } catch (const nlohmann::json::exception&) {
      }
    }
  }
  SampledText result = sample_healthy(model, runner, text, progress);
  if (!path.empty()) {
    store_cache_file(path, {{"sequences", result.sequences},
                            {"drawn_anew", result.health.drawn_anew},
                            {"degenerate", result.health.degenerate}});
  }
  return remembered = std::move(result);
}

CalibrationTokens calibration_tokens(Model::State& model, Runner& runner, const CalibrationText& calibration,
                                     const std::filesystem::path& cache, Progress& progress) {
  if (calibration.kind == CalibrationText::Kind::none) return {};
  if (calibration.kind == CalibrationText::Kind::file) return file_text(model, calibration, progress);
  const SelfText text{kProbeSequences + calibration.sequences, calibration.tokens, calibration.sampling,
                      std::vector<double>(kProbeSequences, kProbeTopP)};
  const auto& [all, health] = self_sequences(model, runner, text, cache, progress);
  const auto end_of_probes = all.begin() + kProbeSequences;
  return {TokenSequences(end_of_probes, all.end()), TokenSequences(all.begin(), end_of_probes), health, {}};
}

}  // namespace mxq
