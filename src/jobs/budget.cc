#include "mxq/budget.h"

#include <fmt/format.h>

#include <cctype>
#include <optional>

#include "base/saturate.h"
#include "calibrate/awq_fit.h"
#include "export/target.h"
#include "model/model_state.h"
#include "model/select_matrices.h"
#include "mxq/error.h"
#include "mxq/scheme.h"
#include "mxq/text.h"

namespace mxq {

namespace {

int64_t weights_of(const ErrorTable& table) {
  int64_t weights = 0;
  for (const auto& matrix : table.matrices) weights += matrix.params;
  return weights;
}

/// `given` less `rest`, which `parts` explains. Throws where the smallest plan does not fit into what is left.
int64_t left_for_matrices(const char* flag, int64_t given, int64_t rest, const std::string& parts,
                          const ErrorTable& table, const AllocateOptions& options) {
  const int64_t smallest = reachable_bytes(table, options).smallest;
  if (given < rest + smallest) {
    const double bits = 8 * static_cast<double>(smallest) / static_cast<double>(weights_of(table));
    throw Error(ErrorCode::infeasible, flag, fmt::format("{} ({} bytes)", format_size(given), given),
                fmt::format("at least {} ({} bytes): {} of quantized matrices ({:.4f} bits per parameter), {}",
                            format_size(rest + smallest), rest + smallest, format_size(smallest), bits, parts));
  }
  return given - rest;
}

}  // namespace

Budget parse_bits_budget(const std::string& text) {
  Budget budget;
  const auto bits = parse_double(text);
  if (!bits && !text.empty() && std::isalpha(static_cast<unsigned char>(text.front())) != 0) {
    budget.kind = Budget::Kind::scheme;
    budget.scheme = parse_scheme(text).name();
    return budget;
  }
  if (!bits || *bits <= 0 || *bits > 32) {
    throw Error(ErrorCode::usage, "bits", fmt::format("'{}'", text),
                "bits per parameter between 0 and 32, or a scheme's name such as b3g64");
  }
  budget.bits = *bits;
  return budget;
}

ModelBytes model_bytes(const Model& opened, const MatrixSelection& planned, Fit fit, const std::string& format) {
  const ModelSource& plain = opened.state().source();
  std::optional<FoldedSource> folded;
  if (fit == Fit::awq) folded.emplace(plain, awq_places(plain));
  const ModelSource& model = folded ? *folded : plain;
  const auto matrices = select_matrices(model, planned);
  ModelBytes bytes;
  const RestBytes rest = find_target(format).rest(model, matrices);
  bytes.plain = rest.tensors;
  bytes.headers = rest.headers;
  const auto& config = model.config();
  if (config) {
    bytes.kv_per_token = kv_cache_bytes(*config, 1);
    bytes.state = linear_state_bytes(*config);
    bytes.max_context = config->max_position_embeddings;
  }
  return bytes;
}

int64_t matrix_budget(const Budget& budget, const ErrorTable& table, const AllocateOptions& options,
                      const ModelBytes& model) {
  switch (budget.kind) {
    case Budget::Kind::bits:
      return saturate<int64_t>(budget.bits * static_cast<double>(weights_of(table)) / 8);
    case Budget::Kind::scheme:
      return uniform_plan(table, budget.scheme, options).bytes;
    case Budget::Kind::size:
      return left_for_matrices(
          "size", budget.bytes, model.plain + model.headers,
          fmt::format("{} of unquantized tensors and headers", format_size(model.plain + model.headers)), table,
          options);
    case Budget::Kind::vram: {
      if (model.kv_per_token == 0) {
        throw Error(ErrorCode::unsupported, "vram", "the model's config does not tell the size of its KV cache",
                    "a budget of size or bits");
      }
      const int64_t cache = model.kv_per_token * budget.context + model.state;
      return left_for_matrices(
          "vram", budget.bytes, model.plain + cache + budget.reserve,
          fmt::format("{} of unquantized tensors, {} of KV cache for {} tokens, {} of reserve",
                      format_size(model.plain), format_size(cache), budget.context, format_size(budget.reserve)),
          table, options);
    }
  }
  return 0;
}

}  // namespace mxq
