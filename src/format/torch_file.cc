#include "format/torch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "format/pickle.h"
#include "format/strided.h"
#include "format/torch_zip.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

using Value = PickleValue;

constexpr std::array<std::string_view, 4> kStateDicts{"model_state_dict", "state_dict", "model", "module"};
constexpr std::array<std::string_view, 2> kWrappers{"module.", "_orig_mod."};
constexpr int kDeepest = 4;  // dicts within each other

/// In this order safetensors has tensors in a file.
constexpr std::array<std::string_view, 19> kOrder{
    "U64", "I64",     "F64",     "C64",     "F32", "U32", "I32",         "BF16",        "F16", "U16",
    "I16", "F8_E8M0", "F8_E4M3", "F8_E5M2", "I8",  "U8",  "F8_E4M3FNUZ", "F8_E5M2FNUZ", "BOOL"};

class StateDict {
 public:
  StateDict(const PickleValues& all, const std::string& source) : all_(all), operation_("read " + source) {}

  /// The dict of tensors, which may lie in others.
  const Value& find(uint32_t root) const {
    uint32_t at = root;
    for (int depth = 0; depth < kDeepest; ++depth) {
      const Value& dict = all_.at(at);
      if (dict.kind != Value::dict) {
        refuse(fmt::format("data.pkl holds {}, not a dict", kind_name(dict.kind)));
      }
      std::vector<std::pair<std::string_view, uint32_t>> inner;
      for_items(dict, [&](const Value& key, uint32_t value) {
        const bool known = key.kind == Value::string &&
                           std::find(kStateDicts.begin(), kStateDicts.end(), key.text) != kStateDicts.end();
        if (known && all_.at(value).kind == Value::dict) inner.emplace_back(key.text, value);
      });
      if (inner.size() > 1) {
        refuse(fmt::format("data.pkl holds several state dicts: {}, {}", in_quotes(inner[0].first),
                           in_quotes(inner[1].first)));
      }
      if (inner.empty()) return dict;
      at = inner.front().second;
    }
    refuse("data.pkl holds dicts within each other");
  }

  StoredTensors read(const Value& dict) const {
    StoredTensors stored;
    int64_t others = 0;
    std::string other;
    for_items(dict, [&](const Value& key, uint32_t value) {
      if (key.kind != Value::string || all_.at(value).kind != Value::tensor) {
        if (others++ == 0) other = key.kind == Value::string ? std::string(key.text) : std::string(kind_name(key.kind));
        return;
      }
      add(std::string(key.text), all_.tensors[static_cast<size_t>(all_.at(value).number)], stored);
    });
    if (stored.tensors.empty()) {
      refuse(others == 0 ? "data.pkl holds no tensors"
                         : fmt::format("data.pkl holds a dict of {} entries without tensors, such as {}", others,
                                       in_quotes(other)));
    }
    if (others > 0) {
      stored.notes.push_back(fmt::format("{} entries of the state dict are no tensors, such as {}: they are left out",
                                         others, in_quotes(other)));
    }
    check_once(stored);
    unwrap(stored);
    sort(stored.tensors);
    return stored;
  }

 private:
  [[noreturn]] void refuse(const std::string& given) const {
    throw Error(ErrorCode::unsupported, operation_, given, "a state dict: names and their tensors");
  }

  template <typename Use>
  void for_items(const Value& dict, const Use& use) const {
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2) use(all_.at(dict.items[i]), dict.items[i + 1]);
  }

  void add(std::string name, const TorchTensor& tensor, StoredTensors& stored) const {
    if (find_invalid_utf8(name)) {
      throw Error(ErrorCode::invalid_file, operation_,
                  fmt::format("tensor {} has a name that is not UTF-8", in_quotes(name)));
    }
    if (!is_row_major(tensor.shape, tensor.strides)) stored.strides.emplace(name, tensor.strides);
    stored.tensors.push_back({std::move(name), tensor.dtype, tensor.shape, tensor.bytes});
  }

  void check_once(const StoredTensors& stored) const {
    std::unordered_set<std::string_view> names;
    for (const TensorView& tensor : stored.tensors) {
      if (names.insert(tensor.name).second) continue;
      throw Error(ErrorCode::invalid_file, operation_, fmt::format("tensor {} is there twice", in_quotes(tensor.name)),
                  "each name once");
    }
  }

  static void unwrap(StoredTensors& stored) {
    for (const std::string_view wrapper : kWrappers) {
      const bool all = std::all_of(stored.tensors.begin(), stored.tensors.end(),
                                   [&](const TensorView& tensor) { return tensor.name.starts_with(wrapper); });
      if (!all) continue;
      for (TensorView& tensor : stored.tensors) tensor.name.erase(0, wrapper.size());
      std::map<std::string, std::vector<int64_t>> strides;
      for (auto& [name, numbers] : stored.strides) strides.emplace(name.substr(wrapper.size()), std::move(numbers));
      stored.strides = std::move(strides);
    }
  }

  static void sort(std::vector<TensorView>& tensors) {
    const auto rank = [](const TensorView& tensor) {
      return std::find(kOrder.begin(), kOrder.end(), dtype_name(tensor.dtype)) - kOrder.begin();
    };
    std::sort(tensors.begin(), tensors.end(), [&](const TensorView& a, const TensorView& b) {
      return std::pair(rank(a), std::string_view(a.name)) < std::pair(rank(b), std::string_view(b.name));
    });
  }

  const PickleValues& all_;
  std::string operation_;
};

}  // namespace

StoredTensors parse_torch_file(std::span<const std::byte> file, const std::string& source) {
  const TorchZip archive = parse_torch_zip(file, source);
  const Pickle pickle = parse_pickle(archive, source);
  const StateDict state(pickle.values, source);
  return state.read(state.find(pickle.root));
}

StoredTensors read_torch_file(const MappedFile& file) {
  return parse_torch_file(file.bytes(), file.path().string());
}

}  // namespace mxq
