// Probes against whole forward passes of a decoder whose matrix is replaced.
#include "evaluate/sensitivity.h"

#include <cmath>
#include <map>

#include "evaluate/real_model.h"
#include "expect_error.h"
#include "kernels/rows.h"

namespace mxq {
namespace {

using Sensitivities = RealModel;

std::vector<float> all_logits(Decoder& decoder, const std::vector<std::vector<int32_t>>& sequences) {
  std::vector<float> all;
  for (const auto& ids : sequences) {
    const auto hidden = decoder.hidden(ids);
    std::vector<float> logits(ids.size() * static_cast<size_t>(decoder.vocab_size()));
    decoder.logits(hidden.data(), static_cast<int64_t>(ids.size()), logits.data());
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

TEST_F(Sensitivities, EqualWholeForwardPasses) {
  Decoder decoder(*model_, {Compute::f32, true});
  const std::vector<std::vector<int32_t>> sequences{{ids_.begin(), ids_.begin() + 12},
                                                    {ids_.begin() + 100, ids_.begin() + 109}};
  const auto perturbed = [&](const std::string& name) {
    const SourceTensor* tensor = model_->find(name + ".weight");
    std::vector<float> weights(static_cast<size_t>(tensor->elements()));
    model_->read(*tensor, weights.data());
    for (size_t i = 0; i < weights.size(); i += 7) weights[i] *= 0.5f;
    return weights;
  };
  std::vector<Probe> probes;
  // Out of order, two of one layer, the first and the last layer; the embedding, which is the output matrix too.
  for (const char* name : {"model.embed_tokens", "model.layers.29.mlp.down_proj", "model.layers.0.self_attn.q_proj",
                           "model.layers.11.self_attn.v_proj", "model.layers.11.mlp.gate_proj"}) {
    probes.push_back({name, [&, name] { return perturbed(name); }});
  }
  std::map<size_t, double> heard;
  const auto found =
      probe_divergences(decoder, sequences, probes, silent_, [&](size_t probe, double kl) { heard[probe] = kl; });
  const auto base = all_logits(decoder, sequences);
  const auto vocab = static_cast<int64_t>(decoder.vocab_size());
  for (size_t i = 0; i < probes.size(); ++i) {
    Linear& matrix = *decoder.find_matrix(probes[i].matrix);
    Linear other = matrix.with_rows(perturbed(probes[i].matrix));
    std::swap(matrix, other);
    const auto logits = all_logits(decoder, sequences);
    std::swap(matrix, other);
    double kl = 0;
    for (int64_t r = 0; r < 21; ++r) {
      kl += ref::row_divergence(base.data() + r * vocab, logits.data() + r * vocab, vocab).kl / 21;
    }
    EXPECT_GT(kl, 1e-4) << probes[i].matrix;
    EXPECT_NEAR(found[i], kl, 1e-6 + 1e-3 * kl) << probes[i].matrix;
    EXPECT_EQ(heard.at(i), found[i]);
  }
}

TEST_F(Sensitivities, ProbesThatBreakTheModelAreNaNAndHarmNoOther) {
  Decoder decoder(*model_, {Compute::f32, true});
  const std::vector<std::vector<int32_t>> sequences{{1, 2, 3}};
  const auto weights = [&](const std::string& name, float last) {
    const SourceTensor* tensor = model_->find(name + ".weight");
    std::vector<float> values(static_cast<size_t>(tensor->elements()));
    model_->read(*tensor, values.data());
    values.back() = last;
    return values;
  };
  const std::string up = "model.layers.3.mlp.up_proj", down = "model.layers.3.mlp.down_proj";
  const std::vector<Probe> probes{{up, [&] { return weights(up, 0.5f); }},
                                  {down, [&] { return weights(down, std::nanf("")); }}};
  const auto found = probe_divergences(decoder, sequences, probes, silent_);
  EXPECT_TRUE(std::isfinite(found[0]));
  EXPECT_TRUE(std::isnan(found[1]));
  const auto alone = probe_divergences(decoder, sequences, std::span(probes).first(1), silent_);
  EXPECT_NEAR(found[0], alone[0], 1e-6);
}

TEST_F(Sensitivities, UnknownMatricesAreRefused) {
  Decoder decoder(*model_, {Compute::f32, true});
  const std::vector<std::vector<int32_t>> sequences{{1, 2, 3}};
  const std::vector<Probe> probes{{"model.layers.30.mlp.up_proj", [] { return std::vector<float>(); }}};
  expect_error(ErrorCode::usage, "matrix 'model.layers.30.mlp.up_proj'",
               [&] { probe_divergences(decoder, sequences, probes, silent_); });
}

}  // namespace
}  // namespace mxq
