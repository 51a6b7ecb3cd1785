#include "format/torch_globals.h"

#include <algorithm>
#include <iterator>

namespace mxq {

namespace {

constexpr TorchGlobal kGlobals[] = {
    {"collections", "OrderedDict", TorchGlobal::ordered_dict},
    {"torch._utils", "_rebuild_tensor", TorchGlobal::rebuild_tensor},
    {"torch._utils", "_rebuild_tensor_v2", TorchGlobal::rebuild_tensor_v2},
    {"torch._utils", "_rebuild_tensor_v3", TorchGlobal::rebuild_tensor_v3},
    {"torch._utils", "_rebuild_parameter", TorchGlobal::rebuild_parameter},
    {"torch._utils", "_rebuild_parameter_with_state", TorchGlobal::rebuild_parameter_with_state},
    {"torch._tensor", "_rebuild_from_type_v2", TorchGlobal::rebuild_from_type},
    {"torch", "Tensor", TorchGlobal::tensor_type},
    {"torch.nn.parameter", "Parameter", TorchGlobal::tensor_type},
    {"torch.nn.parameter", "Buffer", TorchGlobal::tensor_type},
    {"torch", "Size", TorchGlobal::size},
    {"torch", "device", TorchGlobal::harmless},
    {"_codecs", "encode", TorchGlobal::harmless},
    {"__builtin__", "set", TorchGlobal::set},
    {"builtins", "set", TorchGlobal::set},
    {"torch", "DoubleStorage", TorchGlobal::storage_of, "F64"},
    {"torch", "FloatStorage", TorchGlobal::storage_of, "F32"},
    {"torch", "HalfStorage", TorchGlobal::storage_of, "F16"},
    {"torch", "BFloat16Storage", TorchGlobal::storage_of, "BF16"},
    {"torch", "LongStorage", TorchGlobal::storage_of, "I64"},
    {"torch", "IntStorage", TorchGlobal::storage_of, "I32"},
    {"torch", "ShortStorage", TorchGlobal::storage_of, "I16"},
    {"torch", "CharStorage", TorchGlobal::storage_of, "I8"},
    {"torch", "ByteStorage", TorchGlobal::storage_of, "U8"},
    {"torch", "BoolStorage", TorchGlobal::storage_of, "BOOL"},
    {"torch", "ComplexFloatStorage", TorchGlobal::storage_of, "C64"},
    {"torch", "UntypedStorage", TorchGlobal::untyped_storage},
    {"torch.storage", "UntypedStorage", TorchGlobal::untyped_storage},
    {"torch", "float64", TorchGlobal::dtype_of, "F64"},
    {"torch", "float32", TorchGlobal::dtype_of, "F32"},
    {"torch", "float16", TorchGlobal::dtype_of, "F16"},
    {"torch", "bfloat16", TorchGlobal::dtype_of, "BF16"},
    {"torch", "int64", TorchGlobal::dtype_of, "I64"},
    {"torch", "int32", TorchGlobal::dtype_of, "I32"},
    {"torch", "int16", TorchGlobal::dtype_of, "I16"},
    {"torch", "int8", TorchGlobal::dtype_of, "I8"},
    {"torch", "uint8", TorchGlobal::dtype_of, "U8"},
    {"torch", "uint16", TorchGlobal::dtype_of, "U16"},
    {"torch", "uint32", TorchGlobal::dtype_of, "U32"},
    {"torch", "uint64", TorchGlobal::dtype_of, "U64"},
    {"torch", "bool", TorchGlobal::dtype_of, "BOOL"},
    {"torch", "complex64", TorchGlobal::dtype_of, "C64"},
    {"torch", "float8_e4m3fn", TorchGlobal::dtype_of, "F8_E4M3"},
    {"torch", "float8_e5m2", TorchGlobal::dtype_of, "F8_E5M2"},
    {"torch", "float8_e4m3fnuz", TorchGlobal::dtype_of, "F8_E4M3FNUZ"},
    {"torch", "float8_e5m2fnuz", TorchGlobal::dtype_of, "F8_E5M2FNUZ"},
    {"torch", "float8_e8m0fnu", TorchGlobal::dtype_of, "F8_E8M0"},
};

}  // namespace

std::span<const TorchGlobal> torch_globals() {
  return kGlobals;
}

std::optional<size_t> find_torch_global(std::string_view module, std::string_view name) {
  const auto found = std::find_if(std::begin(kGlobals), std::end(kGlobals), [&](const TorchGlobal& global) {
    return global.module == module && global.name == name;
  });
  if (found == std::end(kGlobals)) return std::nullopt;
  return static_cast<size_t>(found - std::begin(kGlobals));
}

}  // namespace mxq
