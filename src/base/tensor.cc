#include "mxq/tensor.h"

#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <cctype>
#include <deque>
#include <mutex>
#include <string>

#include "base/foreign_dtype.h"
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
    DTypeFacts{DType::f64, "F64", 1, 8, true},
    DTypeFacts{DType::f32, "F32", 1, 4, true},
    DTypeFacts{DType::f16, "F16", 1, 2, true},
    DTypeFacts{DType::bf16, "BF16", 1, 2, true},
    DTypeFacts{DType::i64, "I64", 1, 8, false},
    DTypeFacts{DType::i32, "I32", 1, 4, false},
    DTypeFacts{DType::i16, "I16", 1, 2, false},
    DTypeFacts{DType::i8, "I8", 1, 1, false},
    DTypeFacts{DType::u8, "U8", 1, 1, false},
    DTypeFacts{DType::boolean, "BOOL", 1, 1, false},
    DTypeFacts{DType::q4_0, "Q4_0", 32, 18, true},
    DTypeFacts{DType::q4_1, "Q4_1", 32, 20, true},
    DTypeFacts{DType::q5_0, "Q5_0", 32, 22, true},
    DTypeFacts{DType::q5_1, "Q5_1", 32, 24, true},
    DTypeFacts{DType::q8_0, "Q8_0", 32, 34, true},
    DTypeFacts{DType::q2_k, "Q2_K", 256, 84, true},
    DTypeFacts{DType::q3_k, "Q3_K", 256, 110, true},
    DTypeFacts{DType::q4_k, "Q4_K", 256, 144, true},
    DTypeFacts{DType::q5_k, "Q5_K", 256, 176, true},
    DTypeFacts{DType::q6_k, "Q6_K", 256, 210, true},
    DTypeFacts{DType::iq1_s, "IQ1_S", 256, 50, true},
    DTypeFacts{DType::iq1_m, "IQ1_M", 256, 56, true},
    DTypeFacts{DType::iq2_xxs, "IQ2_XXS", 256, 66, true},
    DTypeFacts{DType::iq2_xs, "IQ2_XS", 256, 74, true},
    DTypeFacts{DType::iq2_s, "IQ2_S", 256, 82, true},
    DTypeFacts{DType::iq3_xxs, "IQ3_XXS", 256, 98, true},
    DTypeFacts{DType::iq3_s, "IQ3_S", 256, 110, true},
    DTypeFacts{DType::iq4_nl, "IQ4_NL", 32, 18, true},
    DTypeFacts{DType::iq4_xs, "IQ4_XS", 256, 136, true},
    DTypeFacts{DType::tq1_0, "TQ1_0", 256, 54, true},
    DTypeFacts{DType::tq2_0, "TQ2_0", 256, 66, true},
    DTypeFacts{DType::mxfp4, "MXFP4", 32, 17, true},
};

struct ForeignBits {
  std::string_view name;
  int bits;
};

/// What safetensors 0.6 has besides kFacts.
constexpr std::array kForeignBits{
    ForeignBits{"C64", 64},        ForeignBits{"U64", 64},    ForeignBits{"U32", 32},    ForeignBits{"U16", 16},
    ForeignBits{"F8_E5M2", 8},     ForeignBits{"F8_E4M3", 8}, ForeignBits{"F8_E8M0", 8}, ForeignBits{"F8_E4M3FNUZ", 8},
    ForeignBits{"F8_E5M2FNUZ", 8}, ForeignBits{"F6_E2M3", 6}, ForeignBits{"F6_E3M2", 6}, ForeignBits{"F4", 4},
};

/// The foreign dtypes that files have named so far. Entries stay where they are.
class ForeignDTypes {
 public:
  DType intern(std::string_view name) {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].name == name) return static_cast<DType>(kFacts.size() + i);
    }
    const bool legal = !name.empty() && name.size() <= 32 && std::all_of(name.begin(), name.end(), [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
    });
    if (!legal || entries_.size() == 256) {
      throw Error(ErrorCode::unsupported, "read tensors", fmt::format("dtype '{}'", legal ? name : "?"),
                  legal ? "256 different names of dtypes" : "at most 32 letters, digits and '_'");
    }
    const auto known = std::find_if(kForeignBits.begin(), kForeignBits.end(),
                                    [&](const ForeignBits& foreign) { return foreign.name == name; });
    Entry& entry = entries_.emplace_back();
    entry.name = name;
    entry.bits = known == kForeignBits.end() ? 0 : known->bits;
    entry.facts = {static_cast<DType>(kFacts.size() + entries_.size() - 1), entry.name, 1,
                   entry.bits > 0 && entry.bits % 8 == 0 ? entry.bits / 8 : 1, false};
    return entry.facts.dtype;
  }

  const DTypeFacts& facts(DType dtype) { return at(dtype).facts; }
  int bits(DType dtype) { return at(dtype).bits; }

 private:
  struct Entry {
    std::string name;
    int bits = 0;
    DTypeFacts facts{};
  };

  const Entry& at(DType dtype) {
    const std::lock_guard lock(mutex_);
    return entries_.at(static_cast<size_t>(dtype) - kFacts.size());
  }

  std::mutex mutex_;
  std::deque<Entry> entries_;
};

ForeignDTypes& foreign() {
  static ForeignDTypes dtypes;
  return dtypes;
}

const DTypeFacts& facts(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  return index < kFacts.size() ? kFacts[index] : foreign().facts(dtype);
}

constexpr bool in_enum_order() {
  for (size_t i = 0; i < kFacts.size(); ++i) {
    if (static_cast<size_t>(kFacts[i].dtype) != i) return false;
  }
  return true;
}
static_assert(in_enum_order(), "kFacts is indexed by DType");

}  // namespace

DType foreign_dtype(std::string_view name) {
  return foreign().intern(name);
}
DType safetensors_dtype(std::string_view name) {
  for (const DTypeFacts& facts : kFacts) {
    if (facts.name == name && facts.block_elements == 1) return facts.dtype;
  }
  return foreign_dtype(name);
}
bool is_foreign(DType dtype) {
  return static_cast<size_t>(dtype) >= kFacts.size();
}
int foreign_bits(DType dtype) {
  return foreign().bits(dtype);
}

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
