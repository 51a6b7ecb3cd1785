#include "format/torch_rebuild.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "base/foreign_dtype.h"
#include "format/torch_globals.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

using Value = PickleValue;
using Items = std::span<const uint32_t>;

constexpr size_t kMostDimensions = 16;
constexpr size_t kMostTensors = size_t{1} << 20;

/// One call, and how to say what is wrong with it.
class Call {
 public:
  Call(PickleValues& all, const std::string& operation) : all_(all), operation_(operation) {}

  [[noreturn]] void fail(const std::string& given, const std::string& allowed = {}) const {
    throw Error(ErrorCode::invalid_file, operation_, given, allowed);
  }
  [[noreturn]] void refuse(const std::string& given, const std::string& allowed) const {
    throw Error(ErrorCode::unsupported, operation_, given, allowed);
  }

  const Value& expect(uint32_t value, Value::Kind kind, std::string_view what) const {
    const Value& found = all_.at(value);
    if (found.kind != kind) {
      fail(fmt::format("data.pkl: {} is {}", what, kind_name(found.kind)), std::string(kind_name(kind)));
    }
    return found;
  }
  const TorchGlobal& global(uint32_t value, std::string_view what) const {
    return torch_globals()[static_cast<size_t>(expect(value, Value::global, what).number)];
  }

  Value run(const TorchGlobal& called, Items arguments);
  Value storage(Items id, const TorchZip& archive);

 private:
  void need(const TorchGlobal& called, Items arguments, size_t least, size_t most) const;
  Value tensor(const TorchGlobal& called, Items arguments);
  std::vector<int64_t> numbers(uint32_t value, std::string_view what) const;

  PickleValues& all_;
  const std::string& operation_;
};

std::string shown(const std::vector<int64_t>& numbers) {
  constexpr size_t kMost = 8;
  const auto end = numbers.begin() + static_cast<std::ptrdiff_t>(std::min(kMost, numbers.size()));
  return fmt::format("[{}{}]", fmt::join(numbers.begin(), end, ", "), numbers.size() > kMost ? ", ..." : "");
}

void Call::need(const TorchGlobal& called, Items arguments, size_t least, size_t most) const {
  if (arguments.size() >= least && arguments.size() <= most) return;
  fail(fmt::format("data.pkl calls {}.{} with {} arguments", called.module, called.name, arguments.size()),
       least == most ? std::to_string(least) : fmt::format("{} to {}", least, most));
}

std::vector<int64_t> Call::numbers(uint32_t value, std::string_view what) const {
  const Value& tuple = expect(value, Value::tuple, what);
  if (tuple.items.size() > kMostDimensions) {
    fail(fmt::format("a tensor of {} dimensions", tuple.items.size()), fmt::format("at most {}", kMostDimensions));
  }
  std::vector<int64_t> numbers;
  for (const uint32_t item : tuple.items) numbers.push_back(expect(item, Value::integer, what).number);
  return numbers;
}

/// The product of extents; nullopt where it overflows.
std::optional<int64_t> product(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  for (const int64_t extent : shape) {
    if (__builtin_mul_overflow(count, extent, &count)) return std::nullopt;
  }
  return count;
}

/// How far the last element lies behind the first; nullopt where that overflows.
std::optional<int64_t> reach_of(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  int64_t reach = 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    int64_t step = 0;
    if (__builtin_mul_overflow(shape[i] - 1, strides[i], &step) || __builtin_add_overflow(reach, step, &reach)) {
      return std::nullopt;
    }
  }
  return reach;
}

Value Call::tensor(const TorchGlobal& called, Items arguments) {
  const bool third = called.kind == TorchGlobal::rebuild_tensor_v3;
  const auto metadata = arguments.subspan(std::min<size_t>(arguments.size(), third ? 7 : 6));
  if (!metadata.empty() && all_.at(metadata[0]).kind != Value::none &&
      !expect(metadata[0], Value::dict, "a tensor's metadata").items.empty()) {
    refuse("a tensor whose values are not those of its storage (a lazy negative or conjugate)",
           "tensors after resolve_neg() and resolve_conj()");
  }
  const auto& storage =
      all_.storages[static_cast<size_t>(expect(arguments[0], Value::storage, "a tensor's storage").number)];
  const int64_t offset = expect(arguments[1], Value::integer, "a tensor's offset").number;
  TorchTensor tensor;
  tensor.dtype = storage.dtype;
  tensor.shape = numbers(arguments[2], "a tensor's shape");
  tensor.strides = numbers(arguments[3], "a tensor's strides");
  if (third) {
    const TorchGlobal& dtype = global(arguments[6], "a tensor's dtype");
    if (dtype.kind != TorchGlobal::dtype_of) fail(fmt::format("a tensor's dtype is '{}.{}'", dtype.module, dtype.name));
    tensor.dtype = safetensors_dtype(dtype.dtype);
    if (storage.typed && storage.dtype != tensor.dtype) fail("a tensor has another dtype than its storage");
  } else if (!storage.typed) {
    fail("a tensor without a dtype", "a typed storage");
  }
  const auto where = [&] {
    return fmt::format("a tensor of shape {}, strides {}, offset {} in storage {} of {} bytes", shown(tensor.shape),
                       shown(tensor.strides), offset, in_quotes(storage.key), storage.bytes.size());
  };
  const auto negative = [](int64_t number) { return number < 0; };
  if (tensor.shape.size() != tensor.strides.size()) fail(where(), "as many strides as extents");
  if (offset < 0 || std::any_of(tensor.shape.begin(), tensor.shape.end(), negative) ||
      std::any_of(tensor.strides.begin(), tensor.strides.end(), negative)) {
    fail(where(), "no negative numbers");
  }
  const int64_t unit = dtype_block_bytes(tensor.dtype);
  const int64_t held = static_cast<int64_t>(storage.bytes.size()) / unit;
  const auto count = product(tensor.shape);
  if (!count) fail(where() + ": its size overflows", "at most 2^63 - 1 elements");
  if (*count > 0) {
    const auto reach = reach_of(tensor.shape, tensor.strides);
    if (!reach || *reach >= held || offset >= held - *reach)
      fail(where() + ": it ends beyond it", "elements of the storage");
    if (*count > held) refuse(where() + ": an expanded view, which has more elements", "tensors after contiguous()");
    tensor.bytes = storage.bytes.subspan(static_cast<size_t>(offset * unit), static_cast<size_t>((*reach + 1) * unit));
  }
  if (all_.tensors.size() == kMostTensors)
    fail("data.pkl has too many tensors", fmt::format("at most {}", kMostTensors));
  all_.tensors.push_back(std::move(tensor));
  return {.kind = Value::tensor, .number = std::ssize(all_.tensors) - 1};
}

Value Call::run(const TorchGlobal& called, Items arguments) {
  switch (called.kind) {
    case TorchGlobal::ordered_dict:
      need(called, arguments, 0, 0);
      return {.kind = Value::dict};
    case TorchGlobal::rebuild_tensor:
      need(called, arguments, 4, 4);
      return tensor(called, arguments);
    case TorchGlobal::rebuild_tensor_v2:
      need(called, arguments, 6, 7);
      return tensor(called, arguments);
    case TorchGlobal::rebuild_tensor_v3:
      need(called, arguments, 7, 8);
      return tensor(called, arguments);
    case TorchGlobal::rebuild_parameter:
    case TorchGlobal::rebuild_parameter_with_state:
      need(called, arguments, 3, called.kind == TorchGlobal::rebuild_parameter ? 3 : 4);
      return expect(arguments[0], Value::tensor, "what a Parameter holds");
    case TorchGlobal::rebuild_from_type: {
      need(called, arguments, 4, 4);
      const TorchGlobal& inner = global(arguments[0], "what rebuilds a tensor");
      const TorchGlobal& type = global(arguments[1], "a tensor's type");
      const bool rebuilds =
          inner.kind >= TorchGlobal::rebuild_tensor && inner.kind <= TorchGlobal::rebuild_parameter_with_state;
      if (!rebuilds || type.kind != TorchGlobal::tensor_type) {
        fail(fmt::format("data.pkl rebuilds a '{}.{}' by '{}.{}'", type.module, type.name, inner.module, inner.name));
      }
      return run(inner, expect(arguments[2], Value::tuple, "a tensor's arguments").items);
    }
    case TorchGlobal::size: {
      need(called, arguments, 1, 1);
      const Value& extents = all_.at(arguments[0]);
      if (extents.kind != Value::tuple && extents.kind != Value::list) fail("data.pkl: torch.Size of no tuple");
      if (extents.items.size() > kMostDimensions) fail(fmt::format("a torch.Size of {} extents", extents.items.size()));
      return {.kind = Value::tuple, .items = extents.items};
    }
    case TorchGlobal::set:
      return {.kind = Value::set};
    case TorchGlobal::harmless:
      return {.kind = Value::other};
    default:
      refuse(fmt::format("data.pkl calls '{}.{}'", called.module, called.name), "only what rebuilds tensors called");
  }
}

Value Call::storage(Items id, const TorchZip& archive) {
  if (id.size() != 5 || expect(id[0], Value::string, "the kind of a persistent id").text != "storage") {
    fail(fmt::format("data.pkl: a persistent id of {} parts", id.size()), "('storage', type, key, device, elements)");
  }
  const TorchGlobal& type = global(id[1], "a storage's type");
  const std::string_view key = expect(id[2], Value::string, "a storage's key").text;
  const int64_t elements = expect(id[4], Value::integer, "a storage's size").number;
  TorchStorage storage;
  storage.key = key;
  storage.typed = type.kind == TorchGlobal::storage_of;
  if (storage.typed) {
    storage.dtype = safetensors_dtype(type.dtype);
  } else if (type.kind != TorchGlobal::untyped_storage) {
    fail(fmt::format("data.pkl: a storage's type is '{}.{}'", type.module, type.name));
  }
  const auto found = archive.storages.find(key);
  if (found == archive.storages.end()) fail(fmt::format("storage {} is not in the archive", in_quotes(key)));
  storage.bytes = found->second;
  int64_t bytes = 0;
  if (elements < 0 || __builtin_mul_overflow(elements, dtype_block_bytes(storage.dtype), &bytes) ||
      bytes != static_cast<int64_t>(storage.bytes.size())) {
    fail(fmt::format("storage {} should hold {} elements of {} and has {} bytes", in_quotes(key), elements,
                     dtype_name(storage.dtype), storage.bytes.size()));
  }
  all_.storages.push_back(storage);
  return {.kind = Value::storage, .number = std::ssize(all_.storages) - 1};
}

}  // namespace

PickleValue torch_storage(PickleValues& all, uint32_t id, const TorchZip& archive, const std::string& operation) {
  Call call(all, operation);
  return call.storage(call.expect(id, Value::tuple, "a persistent id").items, archive);
}

PickleValue torch_call(PickleValues& all, uint32_t called, uint32_t arguments, const std::string& operation) {
  Call call(all, operation);
  const TorchGlobal& global = call.global(called, "what is called");
  return call.run(global, call.expect(arguments, Value::tuple, "what it is called with").items);
}

}  // namespace mxq
