#include "mxq/method.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "export/target.h"
#include "model/arch/architecture.h"
#include "model/model_state.h"
#include "mxq/error.h"

namespace mxq {

namespace {

Tie tie_named(std::string_view name) {
  std::vector<std::string_view> known;
  for (const FusedModules& fused : fused_modules()) {
    if (fused.name == name) {
      return {std::string(name), {fused.modules.begin(), fused.modules.end()}, std::string(fused.numbered)};
    }
    known.push_back(fused.name);
  }
  throw Error(ErrorCode::usage, "tie", fmt::format("'{}'", name), fmt::format("{}", fmt::join(known, ", ")));
}

/// With what a fit by its published name stands for, where nothing else was asked for.
MethodRequest spelled_out(MethodRequest request) {
  if (!request.fit) return request;
  const FitMethod& published = *request.fit;
  if (!request.normalize) request.normalize = published.normalize;
  if (!request.metadata) request.metadata = published.metadata;
  if (!request.column_order) request.column_order = published.order;
  if (!request.zero_point) request.zero_point = published.zero_point;
  if (!request.token_weights) request.token_weights = published.token_weights;
  if (!request.shrinkage) request.shrinkage = published.shrinkage;
  if (!request.correction) request.correction = published.correction;
  if (!request.sweeps) request.sweeps = published.sweeps;
  return request;
}

SelfText sample_of(const MethodRequest& request) {
  const int64_t tokens = request.sample_tokens.value_or(kProbeSequences * probe_text(384).tokens);
  return probe_text((tokens + kProbeSequences - 1) / kProbeSequences, {.seed = request.sample_seed.value_or(0)});
}

CalibrationText calibration_of(const MethodRequest& request, const Method& method) {
  const bool wants = method.quantize.fit == Fit::gptq || method.quantize.fit == Fit::awq;
  const std::string text = request.calibration.value_or(wants ? "self" : "none");
  CalibrationText result;
  const int64_t tokens = request.calibration_tokens.value_or(result.sequences * result.tokens);
  if (text == "self") {
    result.kind = CalibrationText::Kind::self;
    // The model samples both texts at once, in sequences of one length.
    result.tokens = method.sample.tokens;
  } else if (text != "none") {
    result.kind = CalibrationText::Kind::file;
    result.file = text;
  }
  result.tokens = std::min(result.tokens, tokens);
  result.sequences = (tokens + result.tokens - 1) / result.tokens;
  result.sampling.seed = method.sample.sampling.seed;
  return result;
}

/// Throws for fields that are given and have no effect. `samples`: the model samples a text in any case.
void refuse_unused(const MethodRequest& request, const Method& method, bool samples) {
  const bool has_text = method.calibration.kind != CalibrationText::Kind::none;
  samples |= method.calibration.kind == CalibrationText::Kind::self;
  for (const MethodField& field : method_fields()) {
    if (field.needs == FieldNeeds::nothing || !field.given(request)) continue;
    // Where groups have a bias, mse looks at it too (schemes/affine/symmetric.h, integer_zeros.h).
    if (field.name == "zero-point" && method.quantize.fit == Fit::mse && has_bias(method.quantize.metadata)) continue;
    const auto refuse = [&](const std::string& because, const char* allowed) {
      throw Error(ErrorCode::usage, std::string(field.name), "has no effect with " + because, allowed);
    };
    const bool of_moments = field.needs == FieldNeeds::moments || field.needs == FieldNeeds::feedback;
    const bool of_text = field.needs == FieldNeeds::a_text || of_moments;
    if (of_text && !has_text) {
      refuse(fmt::format("the fit {} and no calibration text", fit_name(method.quantize.fit)),
             "a fit that looks at a text: gptq, or one with a calibration text");
    }
    const Fit fit = method.quantize.fit;
    if ((of_moments && fit == Fit::awq) || (field.needs == FieldNeeds::feedback && fit != Fit::gptq)) {
      refuse(fmt::format("the fit {}", fit_name(fit)), "the fit gptq");
    }
    if (field.needs == FieldNeeds::sample && !samples) {
      refuse("a model that samples no text", "the objective kl, or the calibration text self");
    }
  }
}

/// Where nobody says: docs/decisions/0019.
constexpr double kUsualShrinkage = 0.1;
constexpr int kUsualSweeps = 3;

/// What all fields but the objective come to. `model`: null where there is an error table alone. `looks_at_outputs`:
/// the objective is kl, and the model can be run.
Method complete(const MethodRequest& request, const ModelSource* model, Objective objective, bool looks_at_outputs) {
  Method method;
  method.objective = objective;
  method.quantize = stated_options(request);
  QuantizeOptions& quantize = method.quantize;
  if (!request.fit) {
    const bool coded = !request.uniform || fit_applies(*request.uniform, Fit::gptq);
    // Families that error feedback cannot code are what others publish: as they do it.
    quantize.fit = !coded ? Fit::rtn : looks_at_outputs && quantize.axis == 1 ? Fit::gptq : Fit::mse;
  }
  const bool rotates = quantize.fit == Fit::gptq || quantize.fit == Fit::mse;
  const MethodRequest spelled = spelled_out(request);
  method.format = request.format.value_or(method.format);
  const Target& target = find_target(method.format);
  if (!spelled.normalize) {
    quantize.normalize = target.usual_normalize().value_or(rotates ? Normalize::rotation : Normalize::none);
  }
  if (!spelled.metadata) quantize.metadata = target.usual_metadata(model).value_or(quantize.metadata);
  if (!spelled.zero_point) {
    quantize.feedback.zero_point = target.usual_zero_point().value_or(quantize.feedback.zero_point);
  }
  if (quantize.fit == Fit::gptq) {
    quantize.feedback.shrinkage = spelled.shrinkage.value_or(kUsualShrinkage);
    quantize.feedback.sweeps = spelled.sweeps.value_or(kUsualSweeps);
    if (!spelled.column_order) {
      quantize.feedback.order = target.usual_column_order().value_or(quantize.feedback.order);
    }
  }
  if (request.uniform) {
    method.schemes = {*request.uniform};
  } else if (request.schemes) {
    method.schemes = *request.schemes;
  } else if (method.schemes = target.usual_schemes(); !method.schemes.empty()) {
  } else {
    // Rotated weights are as normal as makes no difference.
    const bool normal = quantize.normalize == Normalize::rotation && quantize.axis == 1 && rotates;
    method.schemes = parse_schemes(normal ? "wide,gaussian" : "wide");
  }
  target.check(quantize, method.schemes);
  if (request.embeddings.value_or(false) && !target.holds_embeddings()) {
    throw Error(ErrorCode::usage, "embeddings", fmt::format("true for the format {}", method.format), "false");
  }
  const bool wanted = request.counts_all_bytes() || target.plans_embeddings();
  method.matrices = {request.skip,
                     request.embeddings.value_or(wanted && target.holds_embeddings() && quantize.axis == 1)};
  method.sample = sample_of(request);
  method.calibration = calibration_of(request, method);
  check_calibration(method.calibration, quantize);
  return method;
}

/// Of a table that does not say: by the bytes of the first matrix whose shape is known.
bool has_column_scales(const ErrorTable& table, const QuantizeOptions& stated) {
  for (const MatrixErrors& m : table.matrices) {
    if (m.rows == 0 || m.schemes.empty()) continue;
    const QuantizeOptions options{Fit::mse, stated.axis, stated.metadata, Normalize::rotation};
    return m.schemes.front().bytes == storage_bytes(parse_scheme(m.schemes.front().scheme), options, m.rows, m.cols);
  }
  return false;
}

/// Throws for a table whose bytes are those of another format.
void check_bytes(const ErrorTable& table, const Method& method) {
  const Target& target = find_target(method.format);
  if (&target == &mxq_target()) return;
  for (const MatrixErrors& m : table.matrices) {
    for (const SchemeCost& cost : m.schemes) {
      if (m.rows == 0) continue;
      const int64_t bytes = target.matrix_bytes(parse_scheme(cost.scheme), method.quantize, m.rows, m.cols);
      if (bytes == cost.bytes) continue;
      throw Error(ErrorCode::usage, "format",
                  fmt::format("{} for an error table that gives '{}' {} bytes in {}, not {}", method.format, m.name,
                              cost.bytes, cost.scheme, bytes),
                  "a table that was measured with the format");
    }
  }
}

/// The request with what a table was measured with; what is given must be that.
MethodRequest as_measured(const MethodRequest& request, const TableMethod& table) {
  MethodRequest made = spelled_out(request);
  const MethodRequest asked = made;
  const QuantizeOptions wanted = stated_options(asked);
  const std::pair<std::string_view, const std::string&> fields[] = {
      {"fit", table.fit}, {"normalize", table.normalize}, {"axis", table.axis}, {"metadata", table.metadata}};
  for (const auto& [name, value] : fields) {
    const MethodField& field = *find_method_field(name);
    if (field.given(asked) && field.show(wanted) != value) {
      throw Error(ErrorCode::usage, std::string(name),
                  fmt::format("{} for an error table of {}", field.show(wanted), value),
                  "what the table was measured with");
    }
    field.set(made, value);
  }
  return made;
}

}  // namespace

Budget MethodRequest::budget() const {
  const int kinds = bits.has_value() + size.has_value() + vram.has_value();
  if (kinds != 1) {
    throw Error(ErrorCode::usage, "budget", fmt::format("{} budgets given", kinds), "exactly one of bits, size, vram");
  }
  if ((context || reserve) && !vram) {
    throw Error(ErrorCode::usage, context ? "context" : "reserve", "given without vram", "a budget of vram");
  }
  if (bits) return *bits;
  Budget budget;
  if (size) {
    budget.kind = Budget::Kind::size;
    budget.bytes = *size;
    return budget;
  }
  budget.kind = Budget::Kind::vram;
  budget.bytes = *vram;
  budget.context = context.value_or(4096);
  budget.reserve = reserve.value_or(int64_t{512} << 20);
  return budget;
}

AllocateOptions MethodRequest::constraints() const {
  AllocateOptions options;
  options.solver = solver.value_or(options.solver);
  options.pins = pins;
  options.min_bits = min_bits.value_or(0);
  for (const auto& name : ties) options.ties.push_back(tie_named(name));
  for (const auto& name : find_target(format.value_or(std::string(mxq_target().name()))).ties()) {
    options.ties.push_back(tie_named(name));
  }
  return options;
}

QuantizeOptions stated_options(const MethodRequest& given) {
  const MethodRequest request = spelled_out(given);
  QuantizeOptions options;
  if (request.fit) options.fit = request.fit->fit;
  options.axis = request.axis.value_or(options.axis);
  options.metadata = request.metadata.value_or(options.metadata);
  options.normalize = request.normalize.value_or(options.normalize);
  options.feedback.damping = request.damping.value_or(options.feedback.damping);
  options.feedback.order = request.column_order.value_or(options.feedback.order);
  options.feedback.zero_point = request.zero_point.value_or(options.feedback.zero_point);
  options.feedback.token_weights = request.token_weights.value_or(options.feedback.token_weights);
  options.feedback.shrinkage = request.shrinkage.value_or(options.feedback.shrinkage);
  options.feedback.correction = request.correction.value_or(options.feedback.correction);
  options.feedback.sweeps = request.sweeps.value_or(options.feedback.sweeps);
  return options;
}

TableMethod table_method(const QuantizeOptions& options) {
  const auto show = [&](std::string_view name) { return find_method_field(name)->show(options); };
  return {show("fit"), show("normalize"), show("axis"), show("metadata")};
}

Method resolve(const Model& model, const MethodRequest& request) {
  Objective objective = request.uniform ? Objective::kl : request.objective.value_or(Objective::kl);
  std::vector<std::string> changed;
  std::optional<std::string> reason;
  const bool trials = request.verify || request.max_loss;
  if (objective == Objective::kl || trials) reason = model.why_not_runnable();
  if (reason) {
    const auto refuse = [&](ErrorCode code, const char* asked, const char* allowed) {
      throw Error(code, asked, "a model that cannot be run: " + *reason, allowed);
    };
    if (request.max_loss) refuse(ErrorCode::usage, "max-loss", "the objective kl, which predicts losses");
    if (request.verify) refuse(ErrorCode::usage, "verify", "a model that can be run, for trials run it");
    if (request.objective == Objective::kl) refuse(ErrorCode::unsupported, "objective", "rel, f2, f");
    if (!request.uniform) changed.push_back("objective rel instead of kl");
    objective = Objective::rel;
  } else if (request.max_loss && objective != Objective::kl) {
    throw Error(ErrorCode::usage, "max-loss", fmt::format("objective {}", objective_name(objective)),
                "the objective kl, which predicts losses");
  }
  Method method = complete(request, &model.state().source(), objective, objective == Objective::kl);
  if (reason && !request.fit && (!request.uniform || fit_applies(*request.uniform, Fit::gptq))) {
    changed.push_back(fmt::format("fit {} instead of gptq", fit_name(method.quantize.fit)));
  }
  if (!changed.empty()) {
    method.note = fmt::format("{}, for the model cannot be run: {}", fmt::join(changed, " and "), *reason);
  }
  if (request.uniform) {
    method.objective = Objective::rel;
    if (!fit_applies(*request.uniform, method.quantize.fit)) {
      throw Error(ErrorCode::usage, "uniform",
                  fmt::format("{} with the fit {}", request.uniform->name(), fit_name(method.quantize.fit)),
                  fmt::format("the fit rtn or mse, for {} has codes of its own way", request.uniform->family));
    }
  }
  refuse_unused(request, method, trials || method.objective == Objective::kl);
  find_target(method.format).check_model(model.state().source());
  return method;
}

Method resolve(const ErrorTable& table, const MethodRequest& request) {
  const Objective objective = request.objective.value_or(has_sensitivities(table) ? Objective::kl : Objective::rel);
  MethodRequest made = request;
  if (table.method.known()) {
    made = as_measured(request, table.method);
  } else if (!spelled_out(request).normalize) {
    made.normalize = has_column_scales(table, stated_options(request)) ? Normalize::rotation : Normalize::none;
  }
  Method method = complete(made, nullptr, objective, objective == Objective::kl);
  refuse_unused(request, method, false);
  check_bytes(table, method);
  return method;
}

}  // namespace mxq
