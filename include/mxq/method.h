// How a model is to be measured, planned and quantized: what was asked for, and what that comes to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mxq/allocate.h"
#include "mxq/budget.h"
#include "mxq/calibration.h"
#include "mxq/error_table.h"
#include "mxq/matrix_selection.h"
#include "mxq/model.h"
#include "mxq/scheme.h"

namespace mxq {

/// What was asked for; what is empty is left to resolve(). method_fields() has a field for each member.
struct MethodRequest {
  // What the result may take.
  std::optional<Budget> bits;
  std::optional<int64_t> size, vram, reserve, context;  // bytes; tokens
  std::optional<double> max_loss;                       // ln of the factor by which perplexity may rise
  std::optional<Scheme> uniform;                        // one scheme for all matrices

  // What is chosen.
  std::optional<Objective> objective;
  std::optional<Solver> solver;
  std::optional<std::string> format;  // "gguf"
  std::vector<std::pair<std::string, std::string>> pins;
  std::optional<int> min_bits;
  std::vector<std::string> ties;  // "qkv"
  std::optional<std::vector<Scheme>> schemes;

  // How a matrix is quantized, and which are.
  std::optional<FitMethod> fit;
  std::optional<int> axis;
  std::optional<Metadata> metadata;
  std::optional<Normalize> normalize;
  std::optional<bool> embeddings;
  std::vector<std::string> skip;

  // What is looked at.
  std::optional<std::string> calibration;  // "self", "none", or the path of a text
  std::optional<int64_t> calibration_tokens, sample_tokens;
  std::optional<uint64_t> sample_seed;
  std::optional<double> damping;
  std::optional<ColumnOrder> column_order;
  std::optional<ZeroPoint> zero_point;
  std::optional<TokenWeighting> token_weights;
  std::optional<double> shrinkage, correction;
  std::optional<int> sweeps;

  /// The plan is compared with others on text that the model samples.
  bool verify = false;

  /// A budget other than max_loss and uniform is there.
  bool has_budget() const { return bits || size || vram; }
  /// The budget counts bytes outside the layers too.
  bool counts_all_bytes() const { return size || vram || max_loss; }
  /// Throws Error(usage) where there is no budget (has_budget()), more than one, or context or reserve without vram.
  Budget budget() const;
  /// Solver and constraints; the objective is that of a Method. Throws Error(usage) naming the known ties for others.
  AllocateOptions constraints() const;
};

/// Fields of a request that are of use in the same cases, and stand together in --help.
enum class FieldGroup {
  bits,
  bytes,
  goal,     // max-loss, uniform
  choice,   // of a plan
  trial,    // of a plan for a budget
  schemes,  // to choose from
  matrix,   // how one is quantized, and which are
  text,     // what is looked at
};

/// Under which a group's options stand: "Budget", "Plan", "Method", "Texts".
std::string_view group_heading(FieldGroup group);

/// What a field needs to have an effect.
enum class FieldNeeds {
  nothing,
  a_text,    // a fit that looks at a text
  moments,   // one that is made by second moments: gptq or mse on a text
  feedback,  // gptq, which feeds errors back
  sample,    // text that the model samples
};

/// One field of a request: all that the command line, experiment specs, plan files, caches and the documentation know
/// of it. A new option is one entry of the table, and a member of MethodRequest.
struct MethodField {
  std::string_view name;  // --damping of commands, damping in specs
  FieldGroup group = FieldGroup::matrix;
  std::string_view value =
      {};  // what stands for the value in --help; empty: a switch, whose values are "true" and "false"
  std::string_view usual = {};  // the value where nobody says; empty: `help` tells on what it depends
  std::string_view help;
  FieldNeeds needs = FieldNeeds::nothing;
  bool several = false;  // may be given more than once
  /// Throws Error(usage), whose supported() says what is allowed.
  void (*set)(MethodRequest& request, const std::string& value) = nullptr;
  bool (*given)(const MethodRequest& request) = nullptr;
  /// Of fields of QuantizeOptions: the value as set() takes it; null for others.
  std::string (*show)(const QuantizeOptions& options) = nullptr;
  /// Where a plan file has it, "quantize" or "calibration", under its name with "_" for "-"; empty: nowhere.
  std::string_view section = {};
  /// A number in plan files.
  bool number = false;
};

const std::vector<MethodField>& method_fields();
/// Null where there is none.
const MethodField* find_method_field(std::string_view name);

/// How a matrix is quantized as far as the request says, the rest being QuantizeOptions' own; what a fit by its
/// published name stands for included.
QuantizeOptions stated_options(const MethodRequest& request);

/// "fit=gptq axis=1 ...": all fields of a section, for keys of caches.
std::string section_key(const QuantizeOptions& options, std::string_view section);

/// What a table's errors were measured with.
TableMethod table_method(const QuantizeOptions& options);

/// Everything decided.
struct Method {
  Objective objective = Objective::kl;
  std::vector<Scheme> schemes;
  QuantizeOptions quantize;
  MatrixSelection matrices;
  CalibrationText calibration;
  SelfText sample;  // what sensitivities are measured on
  std::string format = "mxq";
  /// What is so because the model cannot be run, as a sentence; empty: nothing.
  std::string note;
};

/// What a request comes to for a model. Where the model can be run: objective kl, fit gptq. Elsewhere, or where another
/// objective is asked for: fit mse, and objective rel. Rotation with gptq and mse. Embedding and output matrix are
/// planned where the budget counts all bytes: but for axis 0, where a row takes reading all groups. For one scheme of a
/// family that error feedback cannot code: fit rtn.
/// Throws Error(unsupported) where the objective kl, a largest loss or trials are asked of a model that cannot be run,
/// and Error(usage) naming a field that has no effect with all the others, and for what check_calibration() refuses.
Method resolve(const Model& model, const MethodRequest& request);

/// What it comes to for an error table: kl where that has sensitivities, and what it was measured with; of a table that
/// does not say, gptq where it has sensitivities, and rotation where its bytes have column scales. Throws Error(usage)
/// as above, and for a field that is not what the table was measured with.
Method resolve(const ErrorTable& table, const MethodRequest& request);

}  // namespace mxq
