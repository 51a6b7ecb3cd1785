// Which experts of a mixture a token goes to.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace mxq {

struct Routing {
  std::vector<float> probabilities;          // [tokens, experts]: softmax of the router's products
  std::vector<std::vector<int32_t>> tokens;  // of each expert, ascending
  std::vector<std::vector<float>> shares;    // of each of those: how much of what the expert makes of it counts
};

/// `products` [tokens, experts]: of the router, finite. Each token goes to the experts of its largest softmax, of equal
/// ones to the first. Source: transformers' MixtralSparseMoeBlock, Qwen2MoeSparseMoeBlock.
Routing route(std::vector<float> products, const Mixture& mixture);

/// The gradient with respect to the router's products, of which experts a token goes to being no function; of that with
/// respect to the shares, laid out as they are.
std::vector<float> route_back(const Routing& routing, const std::vector<std::vector<float>>& of_shares,
                              const Mixture& mixture);

}  // namespace mxq
