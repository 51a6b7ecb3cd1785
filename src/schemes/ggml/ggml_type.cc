#include "schemes/ggml/ggml_type.h"

#include <algorithm>

namespace mxq::ggml {

namespace {

using enum Type::Kind;

constexpr Type kTypes[] = {
    {"q2_k", DType::q2_k, 2, 16, 256, affine, 0, 15, 15},
    {"q3_k", DType::q3_k, 3, 16, 256, symmetric, 4, 32, 0, true},
    {"iq4_xs", DType::iq4_xs, 4, 32, 256, levels, 0, 32, 0, true},
    {"q4_0", DType::q4_0, 4, 32, 32, symmetric, 8},
    {"q4_k", DType::q4_k, 4, 32, 256, affine, 0, 63, 63},
    {"iq4_nl", DType::iq4_nl, 4, 32, 32, levels},
    {"q4_1", DType::q4_1, 4, 32, 32, affine},
    {"q5_0", DType::q5_0, 5, 32, 32, symmetric, 16},
    {"q5_k", DType::q5_k, 5, 32, 256, affine, 0, 63, 63},
    {"q5_1", DType::q5_1, 5, 32, 32, affine},
    {"q6_k", DType::q6_k, 6, 16, 256, symmetric, 32, 128, 0, true},
    {"q8_0", DType::q8_0, 8, 32, 32, symmetric, 128},
};

}  // namespace

std::span<const Type> types() {
  return kTypes;
}

const Type& type_named(std::string_view name) {
  return *std::find_if(std::begin(kTypes), std::end(kTypes), [&](const Type& type) { return type.name == name; });
}

}  // namespace mxq::ggml
