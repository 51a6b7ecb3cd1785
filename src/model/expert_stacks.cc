#include "model/expert_stacks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <tuple>

#include "base/parallel.h"
#include "format/ggml_blocks.h"
#include "format/weights.h"
#include "model/gguf_groups.h"
#include "model/layer_tensors.h"
#include "model/matrix_names.h"
#include "model/model_source.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr std::string_view kBias = "_bias", kBlocks = "_blocks", kScales = "_scales";
constexpr int64_t kBlock = 32;                      // weights that share a scale
constexpr int64_t kBlockBytes = kBlock / 2;         // of their codes
constexpr size_t kGgmlBytes = 1 + kBlockBytes;      // in GGUF the scale stands before them
constexpr std::byte kNan{255}, kLargestScale{252};  // 2^(252 - 128) * 12 is an fp32, the next is none
constexpr int64_t kTile = 32;

/// A tensor's name in its parts: "model.layers.0." and the stack's ending.
struct StackName {
  const ExpertStack* stack;
  std::string before;
  int64_t layer;
  std::string_view ending;
};

std::optional<StackName> parse_name(const std::string& name, const ModelConfig& config) {
  const Architecture* const architecture = find_architecture(config.architecture);
  if (architecture == nullptr) return std::nullopt;
  for (const ExpertStack& stack : architecture->stacks) {
    for (const std::string_view ending : {std::string_view(), kBias, kBlocks, kScales}) {
      const std::string tail = fmt::format(".{}{}", stack.hf, ending);
      if (!name.ends_with(tail)) continue;
      const std::string before = name.substr(0, name.size() - tail.size());
      const size_t dot = before.rfind('.');
      if (dot == std::string::npos) return std::nullopt;
      const std::string_view above = std::string_view(before).substr(0, dot);
      const auto layer = layer_number(std::string_view(before).substr(dot + 1));
      if (!layer || !(above == "layers" || above.ends_with(".layers")) || *layer >= config.num_hidden_layers ||
          !config.has_experts(*layer)) {
        return std::nullopt;
      }
      return StackName{&stack, before + ".", *layer, ending};
    }
  }
  return std::nullopt;
}

/// What a layer's tensor table says of the matrices in a stack: all parts of an expert have these extents.
struct Extents {
  int64_t experts, parts, rows, cols;

  int64_t all_rows() const { return parts * rows; }
};

Extents extents_of(const ModelConfig& config, const ExpertStack& stack) {
  for (const LayerTensor& tensor : find_architecture(config.architecture)->mixture_tensors) {
    if (tensor.part != stack.parts.front()) continue;
    return {config.mixture.experts, std::ssize(stack.parts), config.extent(tensor.rows), config.extent(tensor.cols)};
  }
  return {};
}

std::vector<int64_t> stack_shape(const ExpertStack& stack, const Extents& of, bool bias) {
  std::vector<int64_t> shape{of.experts, of.all_rows()};
  if (!bias) shape.insert(stack.transposed ? shape.begin() + 1 : shape.end(), of.cols);
  return shape;
}

/// Where a tensor belongs that stands for a part of a stack.
struct PlaceInStack {
  int64_t layer;
  size_t stack, part;
  int64_t expert;
  bool bias;
};

std::optional<PlaceInStack> find_in_stack(const SourceTensor& tensor, const ModelConfig& config,
                                          const Architecture& architecture) {
  constexpr std::string_view bias = ".bias";
  const bool is_bias = tensor.name.ends_with(bias);
  const std::string weight =
      is_bias ? tensor.name.substr(0, tensor.name.size() - bias.size()) + ".weight" : tensor.name;
  const auto name = parse_matrix_name(weight);
  if (!name || stack_name(weight) != "model.layers") return std::nullopt;
  const auto layer = layer_number(name->layer);
  if (!layer || *layer >= config.num_hidden_layers) return std::nullopt;
  const auto found = find_layer_tensor(config, *layer, name->module);
  if (!found || !found->tensor->of_expert()) return std::nullopt;
  for (size_t s = 0; s < architecture.stacks.size(); ++s) {
    const auto& parts = architecture.stacks[s].parts;
    const auto part = std::find(parts.begin(), parts.end(), found->tensor->part);
    if (part == parts.end()) continue;
    return PlaceInStack{*layer, s, static_cast<size_t>(part - parts.begin()), found->expert, is_bias};
  }
  return std::nullopt;
}

void require_shape(const TensorView& tensor, const std::vector<int64_t>& shape, const std::string& source) {
  if (tensor.shape == shape) return;
  throw Error(ErrorCode::invalid_file, "open " + source,
              fmt::format("tensor '{}' has shape [{}]", tensor.name, fmt::join(tensor.shape, ", ")),
              fmt::format("[{}] by the config", fmt::join(shape, ", ")));
}

[[noreturn]] void refuse_dtype(const TensorView& tensor, const std::string& source, const char* expected) {
  throw Error(ErrorCode::unsupported, "open " + source,
              fmt::format("tensor '{}' is {}", tensor.name, dtype_name(tensor.dtype)), expected);
}

const TensorView& require_beside(const TensorStore& store, const std::string& name, const TensorView& tensor,
                                 const std::string& source) {
  const TensorView* const found = store.find(name);
  if (found != nullptr) return *found;
  throw Error(ErrorCode::invalid_file, "open " + source, fmt::format("tensor '{}' is missing", name),
              fmt::format("it beside '{}'", tensor.name));
}

/// Of one expert.
TensorView slice(const TensorView& tensor, int64_t expert) {
  TensorView one = tensor;
  one.shape.erase(one.shape.begin());
  const size_t bytes = tensor.bytes.size() / static_cast<size_t>(tensor.shape.front());
  one.bytes = tensor.bytes.subspan(static_cast<size_t>(expert) * bytes, bytes);
  return one;
}

/// One row of MXFP4 as GGUF's blocks: there a byte has a weight and the sixteenth behind it, here two neighbours.
void to_ggml(const std::byte* blocks, const std::byte* scales, int64_t count, std::byte* out) {
  const auto code = [](const std::byte* codes, int64_t i) {
    return i % 2 == 0 ? codes[i / 2] & std::byte{15} : codes[i / 2] >> 4;
  };
  for (int64_t b = 0; b < count; ++b) {
    const std::byte* const codes = blocks + b * kBlockBytes;
    *out++ = scales[b];
    for (int64_t i = 0; i < kBlockBytes; ++i) *out++ = code(codes, i) | code(codes, i + kBlockBytes) << 4;
  }
}

void read_transposed(const StackedTensor& tensor, int64_t begin, int64_t count, float* out) {
  const int64_t cols = tensor.shape[1], all = tensor.parts * tensor.shape[0], step = tensor.step;
  const int64_t width = (count - 1) * step + 1;
  parallel_for((cols + kTile - 1) / kTile, [&](int64_t task) {
    const int64_t from = task * kTile, tile = std::min(kTile, cols - from);
    std::vector<float> values(static_cast<size_t>(tile * width));
    for (int64_t k = 0; k < tile; ++k) {
      read_f32(tensor.part, (from + k) * all + tensor.first + begin * step, width, values.data() + k * width);
    }
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t k = 0; k < tile; ++k) out[r * cols + from + k] = values[static_cast<size_t>(k * width + r * step)];
    }
  });
}

}  // namespace

void StackedTensor::read_rows(int64_t begin, int64_t count, float* out) const {
  if (count == 0) return;
  const int64_t cols = shape.size() > 1 ? shape[1] : 1;
  if (is_mxfp4()) {
    const int64_t blocks = cols / kBlock;
    parallel_for(count, [&](int64_t r) {
      const int64_t row = first + (begin + r) * step;
      const std::byte* const row_scales = scales.bytes.data() + row * blocks;
      std::vector<std::byte> ggml(static_cast<size_t>(blocks) * kGgmlBytes);
      to_ggml(part.bytes.data() + row * blocks * kBlockBytes, row_scales, blocks, ggml.data());
      dequantize_ggml_blocks(DType::mxfp4, ggml.data(), blocks, out + r * cols);
      for (int64_t b = 0; b < blocks; ++b) {
        if (row_scales[b] == kNan) {
          std::fill_n(out + r * cols + b * kBlock, kBlock, std::numeric_limits<float>::quiet_NaN());
        }
      }
    });
  } else if (transposed && shape.size() > 1) {
    read_transposed(*this, begin, count, out);
  } else if (step == 1) {
    read_f32(part, (first + begin) * cols, count * cols, out);
  } else {
    for (int64_t r = 0; r < count; ++r) read_f32(part, (first + (begin + r) * step) * cols, cols, out + r * cols);
  }
}

QuantizedMatrix StackedTensor::groups() const {
  const int64_t rows = shape[0], blocks = shape[1] / kBlock;
  std::vector<std::byte> ggml(static_cast<size_t>(rows * blocks) * kGgmlBytes);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = first + r * step;
    const std::byte* const row_scales = scales.bytes.data() + row * blocks;
    const auto beyond = std::find_if(row_scales, row_scales + blocks, [](std::byte e) { return e > kLargestScale; });
    if (beyond != row_scales + blocks) {
      throw Error(ErrorCode::not_finite, "read weights",
                  fmt::format("'{}' has a scale of exponent {} at row {}, block {}", name,
                              std::to_integer<int>(*beyond), r, beyond - row_scales),
                  fmt::format("at most {}", std::to_integer<int>(kLargestScale)));
    }
    to_ggml(part.bytes.data() + row * blocks * kBlockBytes, row_scales, blocks,
            ggml.data() + static_cast<size_t>(r * blocks) * kGgmlBytes);
  }
  return exact_ggml_groups(DType::mxfp4, *exact_ggml_layout(DType::mxfp4, rows, shape[1]), ggml);
}

std::optional<std::vector<StackedTensor>> stacked_tensors(const TensorView& tensor, const TensorStore& store,
                                                          const ModelConfig& config, const std::string& source) {
  const auto name = parse_name(tensor.name, config);
  if (!name) return std::nullopt;
  const ExpertStack& stack = *name->stack;
  const auto [experts, parts, rows, cols] = extents_of(config, stack);
  const std::string whole = name->before + std::string(stack.hf);
  const bool bias = name->ending == kBias, blocks = name->ending == kBlocks;
  if (name->ending == kScales) {
    require_beside(store, whole + std::string(kBlocks), tensor, source);
    return std::vector<StackedTensor>();
  }
  const TensorView* scales = nullptr;
  if (blocks) {
    if (store.find(whole) != nullptr) {
      throw Error(ErrorCode::invalid_file, "open " + source,
                  fmt::format("'{}' is there both quantized and as it was", whole));
    }
    if (cols % kBlock != 0) {
      throw Error(ErrorCode::invalid_file, "open " + source,
                  fmt::format("tensor '{}' of rows of {} weights", tensor.name, cols),
                  fmt::format("a multiple of {}", kBlock));
    }
    scales = &require_beside(store, whole + std::string(kScales), tensor, source);
    for (const TensorView* view : {&tensor, scales}) {
      if (view->dtype != DType::u8) refuse_dtype(*view, source, "U8");
    }
    require_shape(tensor, {experts, parts * rows, cols / kBlock, kBlockBytes}, source);
    require_shape(*scales, {experts, parts * rows, cols / kBlock}, source);
  } else {
    if (!dtype_is_weight(tensor.dtype)) refuse_dtype(tensor, source, "F64, F32, F16 or BF16");
    require_shape(tensor, stack_shape(stack, {experts, parts, rows, cols}, bias), source);
  }
  std::vector<StackedTensor> all;
  for (int64_t expert = 0; expert < experts; ++expert) {
    for (int64_t p = 0; p < parts; ++p) {
      StackedTensor one;
      one.name = name->before + module_of(config, name->layer, stack.parts[static_cast<size_t>(p)], expert) +
                 (bias ? ".bias" : ".weight");
      one.shape = bias ? std::vector<int64_t>{rows} : std::vector<int64_t>{rows, cols};
      one.part = slice(tensor, expert);
      if (blocks) one.scales = slice(*scales, expert);
      one.parts = parts;
      one.first = stack.alternating ? p : p * rows;
      one.step = stack.alternating ? parts : 1;
      one.transposed = stack.transposed && !blocks;
      all.push_back(std::move(one));
    }
  }
  return all;
}

std::vector<RestoredStack> restored_stacks(const ModelSource& model) {
  const Architecture* const architecture = model.config() ? find_architecture(model.config()->architecture) : nullptr;
  if (architecture == nullptr || architecture->stacks.empty()) return {};
  const ModelConfig& config = *model.config();
  std::map<std::tuple<int64_t, size_t, bool>, RestoredStack> found;  // by layer, stack, and whether it is of biases
  for (const SourceTensor& tensor : model.tensors()) {
    const auto place = find_in_stack(tensor, config, *architecture);
    if (!place) continue;
    const auto& [layer, number, part, expert, bias] = *place;
    const ExpertStack& stack = architecture->stacks[number];
    if (!stack.restored) continue;
    const auto [experts, parts, rows, cols] = extents_of(config, stack);
    if (tensor.shape != (bias ? std::vector<int64_t>{rows} : std::vector<int64_t>{rows, cols})) {
      throw Error(ErrorCode::invalid_file, "read " + model.path().string(),
                  fmt::format("tensor '{}' has shape [{}]", tensor.name, fmt::join(tensor.shape, ", ")),
                  bias ? fmt::format("[{}] by the config", rows) : fmt::format("[{}, {}] by the config", rows, cols));
    }
    RestoredStack& whole = found[{layer, number, bias}];
    if (whole.experts.empty()) {
      // The file's prefix: stored names end as the others do behind "model.".
      const size_t rest = tensor.name.size() - std::string_view("model.").size();
      whole.stored_name =
          fmt::format("{}layers.{}.{}{}", tensor.stored_name.substr(0, tensor.stored_name.size() - rest), layer,
                      stack.hf, bias ? kBias : std::string_view());
      whole.shape = stack_shape(stack, {experts, parts, rows, cols}, bias);
      whole.experts.assign(static_cast<size_t>(experts),
                           std::vector<const SourceTensor*>(static_cast<size_t>(parts), nullptr));
      whole.transposed = stack.transposed;
      whole.alternating = stack.alternating;
    }
    whole.experts[static_cast<size_t>(expert)][part] = &tensor;
  }
  std::vector<RestoredStack> restored;
  for (auto& [key, whole] : found) {
    for (size_t e = 0; e < whole.experts.size(); ++e) {
      if (std::find(whole.experts[e].begin(), whole.experts[e].end(), nullptr) == whole.experts[e].end()) continue;
      throw Error(ErrorCode::invalid_file, "read " + model.path().string(),
                  fmt::format("'{}' lacks tensors of expert {}", whole.stored_name, e), "all of them");
    }
    restored.push_back(std::move(whole));
  }
  return restored;
}

}  // namespace mxq
