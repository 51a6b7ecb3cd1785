// The names that a pickle of weights may use. They are looked up here and mean what this table says: nothing of Python
// is imported or run.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace mxq {

struct TorchGlobal {
  enum Kind : uint8_t {
    ordered_dict,
    rebuild_tensor,                // (storage, offset, shape, strides)
    rebuild_tensor_v2,             // (the same, requires_grad, hooks, and metadata)
    rebuild_tensor_v3,             // (storage, offset, shape, strides, requires_grad, hooks, dtype, and metadata)
    rebuild_parameter,             // (tensor, requires_grad, hooks)
    rebuild_parameter_with_state,  // (tensor, requires_grad, hooks, attributes)
    rebuild_from_type,             // (one of these, a type of tensors, its arguments, attributes)
    tensor_type,
    size,  // (tuple)
    set,   // (list)
    storage_of,
    untyped_storage,
    dtype_of,
    harmless,  // called with whatever: a value of no use here
  };
  std::string_view module, name;
  Kind kind;
  std::string_view dtype = {};  // safetensors' name; of storage_of and dtype_of
};

std::span<const TorchGlobal> torch_globals();
/// In torch_globals(); nullopt where it is not allowed.
std::optional<size_t> find_torch_global(std::string_view module, std::string_view name);

}  // namespace mxq
