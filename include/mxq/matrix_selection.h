// Which matrices of a model are planned.
#pragma once

#include <string>
#include <vector>

namespace mxq {

struct MatrixSelection {
  /// Matrices whose name one of these regular expressions (ECMAScript, searched) finds stay as they are.
  std::vector<std::string> skip;
  /// The embedding (model.embed_tokens) and the output matrix (lm_head, where it is not the embedding) too.
  bool embeddings = false;
};

}  // namespace mxq
