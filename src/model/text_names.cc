#include "model/text_names.h"

#include <algorithm>
#include <set>

namespace mxq {

namespace {

constexpr std::string_view kModel = "model.", kHead = "lm_head.", kEmbedding = "embed_tokens.";

}  // namespace

TextNames::TextNames(const std::vector<std::string>& names, bool tied) {
  // Prefixes of "layers.0." and of the embedding.
  std::set<std::string, std::less<>> with_layers, with_embedding;
  std::vector<std::string> heads;
  for (const std::string& name : names) {
    for (const auto& [part, found] : {std::pair{std::string_view("layers.0."), &with_layers},
                                      std::pair{std::string_view("embed_tokens.weight"), &with_embedding}}) {
      const size_t at = name.find(part);
      if (at == std::string::npos || (at > 0 && name[at - 1] != '.')) continue;
      if (found == &with_embedding && at + part.size() != name.size()) continue;
      found->insert(name.substr(0, at));
    }
    if (name == "lm_head.weight" || name.ends_with(".lm_head.weight")) {
      heads.push_back(name.substr(0, name.size() - std::string_view("weight").size()));
    }
  }
  std::vector<std::string> both;
  std::set_intersection(with_layers.begin(), with_layers.end(), with_embedding.begin(), with_embedding.end(),
                        std::back_inserter(both));
  const bool plain = with_layers.contains(kModel) || with_embedding.contains(kModel);
  if (!plain && both.size() == 1) {
    prefix_ = both.front();
    if (heads.size() == 1) head_ = heads.front();
  }
  // A tied model may be stored under the name of either.
  const bool alone = with_embedding.empty() && with_layers.size() == 1 && heads.size() == 1;
  if (tied && alone) {
    prefix_ = *with_layers.begin();
    head_ = heads.front();
    head_is_embedding_ = true;
  }
}

std::string TextNames::canonical(const std::string& name) const {
  const std::string_view whole = name;
  if (whole.starts_with(head_)) {
    const std::string_view rest = whole.substr(head_.size());
    if (head_is_embedding_) return std::string(kModel).append(kEmbedding).append(rest);
    return std::string(kHead).append(rest);
  }
  if (prefix_ == kModel || !whole.starts_with(prefix_)) return name;
  const std::string_view rest = whole.substr(prefix_.size());
  const bool known = rest.starts_with("layers.") || rest.starts_with(kEmbedding) || rest == "norm.weight";
  return known ? std::string(kModel).append(rest) : name;
}

}  // namespace mxq
