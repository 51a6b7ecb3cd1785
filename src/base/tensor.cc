#include "mxq/tensor.h"

#include <fmt/format.h>
#include <array>

#include "mxq/error.h"

namespace mxq {

namespace {

struct DTypeFacts {
  DType dtype;
  std::string_view name;
  int64_t block_elements;
  int64_t block_bytes;
  bool weight;
};

constexpr std::array kFacts{
    DTypeFacts{DType::f64, "F64", 1, 8, false},    DTypeFacts{DType::f32, "F32", 1, 4, true},
    DTypeFacts{DType::f16, "F16", 1, 2, true},     DTypeFacts{DType::bf16, "BF16", 1, 2, true},
    DTypeFacts{DType::i64, "I64", 1, 8, false},    DTypeFacts{DType::i32, "I32", 1, 4, false},
    DTypeFacts{DType::i16, "I16", 1, 2, false},    DTypeFacts{DType::i8, "I8", 1, 1, false},
    DTypeFacts{DType::u8, "U8", 1, 1, false},      DTypeFacts{DType::boolean, "BOOL", 1, 1, false},
    DTypeFacts{DType::q4_0, "Q4_0", 32, 18, true}, DTypeFacts{DType::q4_1, "Q4_1", 32, 20, true},
    DTypeFacts{DType::q5_0, "Q5_0", 32, 22, true}, DTypeFacts{DType::q5_1, "Q5_1", 32, 24, true},
    DTypeFacts{DType::q8_0, "Q8_0", 32, 34, true},
};

const DTypeFacts& facts(DType dtype) {
  const auto& found = kFacts[static_cast<size_t>(dtype)];
  return found;
}

constexpr bool in_enum_order() {
  for (size_t i = 0; i < kFacts.size(); ++i) {
    if (static_cast<size_t>(kFacts[i].dtype) != i) return false;
  }
  return true;
}
static_assert(in_enum_order(), "kFacts is indexed by DType");

}  // namespace

std::string_view dtype_name(DType dtype) {
  return facts(dtype).name;
}
int64_t dtype_block_elements(DType dtype) {
  return facts(dtype).block_elements;
}
int64_t dtype_block_bytes(DType dtype) {
  return facts(dtype).block_bytes;
}
bool dtype_is_weight(DType dtype) {
  return facts(dtype).weight;
}

int64_t dtype_bytes(DType dtype, int64_t elements) {
  const auto& f = facts(dtype);
  int64_t bytes = 0;
  if (elements < 0 || elements % f.block_elements != 0 ||
      __builtin_mul_overflow(elements / f.block_elements, f.block_bytes, &bytes)) {
    throw Error(ErrorCode::invalid_file, "size of a tensor", fmt::format("{} elements of {}", elements, f.name),
                fmt::format("a multiple of {} that fits 63 bits", f.block_elements));
  }
  return bytes;
}

int64_t TensorView::elements() const {
  int64_t count = 1;
  for (int64_t d : shape) count *= d;
  return count;
}

}  // namespace mxq
