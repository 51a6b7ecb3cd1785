// Names of a decoder's tensors, whatever the file wraps them in: models with a vision tower and embedding models put
// other prefixes in front, or none.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mxq {

class TextNames {
 public:
  /// Nothing to translate.
  TextNames() = default;
  /// Looks for the one prefix P with P + "embed_tokens.weight" and tensors P + "layers.0...". `tied`: lm_head.weight
  /// stands for the embedding where the file has no other.
  TextNames(const std::vector<std::string>& names, bool tied);

  /// Under which name "model.layers.N...", "model.embed_tokens...", "model.norm..." or "lm_head..." is known here;
  /// other names, and all where the prefix is "model." or unknown, as they are.
  std::string canonical(const std::string& name) const;
  /// In front of "layers.N." in the file; "model." where there is nothing to translate.
  const std::string& prefix() const { return prefix_; }

 private:
  std::string prefix_ = "model.";
  std::string head_ = "lm_head.";
  bool head_is_embedding_ = false;
};

}  // namespace mxq
