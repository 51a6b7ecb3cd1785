// How much of a model a plan is for, and why the rest stays as it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mxq/allocate.h"
#include "mxq/matrix_selection.h"
#include "mxq/model.h"

namespace mxq {

/// Why weights of linear layers, of the embedding or of the output matrix are not planned.
enum class LeftReason {
  embeddings,   // the embedding and the output matrix, which were not asked for
  skipped,      // a skip pattern finds them, or the plan does not name them
  stack,        // the matrices of all experts in one tensor of three dimensions or more
  unnamed,      // experts' matrices whose names do not end in ".weight"
  tower,        // a part that reads images or sound
  outside,      // linear layers outside all stacks of layers: projectors, classifiers
  beyond,       // layers behind the last one of the configuration, which the model does not use
  dtype,        // matrices in a dtype that is not read as weights
  router,       // what picks the experts of a token
  time_step,    // dt_proj of state-space layers
  small,        // matrices of fewer than 16 rows or columns
  unused_head,  // an output matrix of other values than the embedding, in a model that is tied
};
/// "embeddings", "stack", ...: as --json has it.
std::string_view left_reason_name(LeftReason reason);

struct LeftOut {
  LeftReason reason;
  int64_t tensors = 0, weights = 0;
  std::string example, dtype;  // the name of the first such tensor, and how it is stored
};

struct Coverage {
  int64_t weights = 0;  // all of the model; a tied output matrix that the file holds once more does not count
  int64_t planned = 0;
  std::vector<LeftOut> left;  // of most weights first

  int64_t left_weights() const;
  /// Of the reasons that nobody asked for and that are worth a warning: all but embeddings, skipped, router, time_step,
  /// small and unused_head.
  int64_t unexpected_weights() const;
  /// One line: "88.9 % of 0.2 M weights stay as they are: 88.1 % in stacks of 3 dimensions, such as ...". Empty where
  /// nothing stays.
  std::string line() const;
};

/// Of the matrices that `selection` chooses. Throws what measure_model() throws for patterns that find nothing. Reads
/// no weights, but the two matrices of a tied model whose file holds both.
Coverage model_coverage(const Model& model, const MatrixSelection& selection = {});

/// Of the matrices that a plan for the model names.
Coverage plan_coverage(const Model& model, const Plan& plan);

}  // namespace mxq
