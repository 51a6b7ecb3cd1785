#include "pipeline/calibration_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/content_hash.h"
#include "evaluate/sample.h"
#include "model/model_tokenizer.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "pipeline/cache_file.h"

namespace mxq {

namespace {

/// Raised whenever the same options sample other text than before.
constexpr int kSampleVersion = 1;

std::filesystem::path sample_path(const ModelSource& model, Compute compute, const SelfText& text,
                                  const std::filesystem::path& cache) {
  ContentHash hash;
  for (const auto& tensor : model.tensors()) model.hash(tensor, hash);
  hash.add(fmt::format("{} {} {} {} {} {} {} v{}", model.config_json(), text.sequences, text.tokens,
                       text.sampling.temperature, text.sampling.top_p, text.sampling.seed,
                       compute == Compute::bf16 ? "bf16" : "f32", kSampleVersion));
  return cache / "samples" / (hash.hex() + ".json");
}

TokenSequences file_sequences(const ModelSource& model, const Calibration& calibration) {
  const auto tokenizer = open_model_tokenizer(model);
  const auto ids = tokenizer->encode(read_text(calibration.file), {.add_bos = false, .parse_special = true});
  const auto all = static_cast<int64_t>(ids.size());
  const int64_t count = std::min(calibration.sequences, all / calibration.tokens);
  if (count == 0) {
    throw Error(ErrorCode::usage, "calibrate on " + calibration.file, fmt::format("{} tokens", all),
                fmt::format("at least {}", calibration.tokens));
  }
  TokenSequences sequences;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t spare = all - calibration.tokens, begin = count == 1 ? 0 : spare * i / (count - 1);
    auto& sequence = sequences.emplace_back();
    if (tokenizer->adds_bos() && tokenizer->bos()) sequence.push_back(*tokenizer->bos());
    sequence.insert(sequence.end(), ids.begin() + begin, ids.begin() + begin + calibration.tokens);
  }
  return sequences;
}

}  // namespace

TokenSequences self_sequences(const ModelSource& model, Decoder& decoder, const SelfText& text,
                              const std::filesystem::path& cache, Progress& progress) {
  std::filesystem::path path;
  if (!cache.empty()) {
    path = sample_path(model, decoder.compute(), text, cache);
    if (const auto json = load_cache_file(path)) {
      try {
        return json->get<TokenSequences>();
      } catch (const nlohmann::json::exception&) {
      }
    }
  }
  const auto starts = start_tokens(model, *open_model_tokenizer(model));
  auto sequences = sample_sequences(decoder, starts, text, progress);
  if (!path.empty()) store_cache_file(path, sequences);
  return sequences;
}

CalibrationText calibration_text(const ModelSource& model, Decoder& decoder, const Calibration& calibration,
                                 const std::filesystem::path& cache, Progress& progress) {
  if (calibration.text == Calibration::Text::none) return {};
  if (calibration.text == Calibration::Text::file) return {file_sequences(model, calibration), {}};
  const SelfText text{kProbeSequences + calibration.sequences, calibration.tokens, calibration.sampling};
  auto all = self_sequences(model, decoder, text, cache, progress);
  const auto end_of_probes = all.begin() + kProbeSequences;
  return {TokenSequences(end_of_probes, all.end()), TokenSequences(all.begin(), end_of_probes)};
}

}  // namespace mxq
