// What a pickle of torch.save holds, once it is read.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mxq/tensor.h"

namespace mxq {

/// A value among others, to which it refers by their places: so values that hold themselves need no care, and nothing
/// that walks or frees them recurses.
struct PickleValue {
  enum Kind : uint8_t {
    none,
    boolean,  // number
    integer,  // number
    real,
    string,  // text
    bytes,   // text
    tuple,   // items, as of the next three
    list,
    set,
    dict,     // keys and values in turn
    global,   // number: in torch_globals()
    storage,  // number: in PickleValues::storages
    tensor,   // number: in PickleValues::tensors
    other,    // of no use here: a device, a set, encoded text
  };
  Kind kind = none;
  int64_t number = 0;
  std::string_view text = {};  // into the pickle
  std::vector<uint32_t> items = {};
};

/// "a tuple", for messages.
std::string_view kind_name(PickleValue::Kind kind);

struct TorchStorage {
  std::string_view key;  // into the pickle
  bool typed = false;    // else its tensors say their dtypes
  DType dtype = DType::u8;
  std::span<const std::byte> bytes;
};

/// A tensor as torch has it: element i, j, ... is the (i * strides[0] + j * strides[1] + ...)-th of `bytes`, which
/// begin with the first element and end behind the last.
struct TorchTensor {
  DType dtype = DType::f32;
  std::vector<int64_t> shape, strides;
  std::span<const std::byte> bytes;
};

struct PickleValues {
  std::vector<PickleValue> values;
  std::vector<TorchStorage> storages;
  std::vector<TorchTensor> tensors;

  const PickleValue& at(uint32_t value) const { return values[value]; }
};

}  // namespace mxq
