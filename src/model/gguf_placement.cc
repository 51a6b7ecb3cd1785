#include "model/gguf_placement.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

#include "base/parallel.h"
#include "format/weights.h"
#include "model/arch/architecture.h"
#include "mxq/error.h"

namespace mxq {

namespace {

using Order = std::vector<int64_t>;

Order as_they_are(int64_t count) {
  Order order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// Value heads of `size` rows behind `before` others: HF has those of a key head together, GGUF the first one of every
// key head, then the second ones.
Order tiled(const LinearAttention& linear, int64_t before, int64_t size) {
  Order order = as_they_are(before);
  const int64_t each = linear.value_heads / linear.key_heads;
  for (int64_t key = 0; key < linear.key_heads; ++key) {
    for (int64_t value = 0; value < each; ++value) {
      const int64_t head = value * linear.key_heads + key;
      for (int64_t i = 0; i < size; ++i) order.push_back(before + head * size + i);
    }
  }
  return order;
}

// HF has what belongs to a key head together, GGUF all queries, keys, values and gates.
Order by_kind(const LinearAttention& linear) {
  const int64_t values = linear.values() / linear.key_heads;
  Order order;
  for (int64_t head = 0; head < linear.key_heads; ++head) {
    int64_t begin = 0;
    for (const int64_t size : {linear.key_dim, linear.key_dim, values, values}) {
      for (int64_t i = 0; i < size; ++i) order.push_back(begin + head * size + i);
      begin += linear.key_heads * size;
    }
  }
  return order;
}

[[noreturn]] void refuse(const std::string& source, const TensorView& view, std::string given, std::string expected) {
  throw Error(ErrorCode::invalid_file, "read " + source, fmt::format("tensor '{}' has {}", view.name, given),
              std::move(expected));
}

// Without what is computed.
GgufOrder order_of_part(const ModelConfig& config, const Architecture& architecture, LayerPart part, bool in_one) {
  const LinearAttention& linear = config.linear;
  const bool tiles = architecture.gguf_tiles_value_heads && linear.value_heads != linear.key_heads;
  switch (part) {
    case LayerPart::q:
    case LayerPart::k:
      if (!architecture.gguf_permutes_rows) return {};
      return {.rows =
                  paired_rows(config.extent(part == LayerPart::q ? Extent::queries : Extent::keys), config.head_dim)};
    case LayerPart::linear_qkvz:
      return in_one ? GgufOrder{} : GgufOrder{.rows = by_kind(linear)};
    case LayerPart::linear_qkv:
    case LayerPart::linear_conv:
      return tiles ? GgufOrder{.rows = tiled(linear, 2 * linear.keys(), linear.value_dim)} : GgufOrder{};
    case LayerPart::linear_z:
      return tiles ? GgufOrder{.rows = tiled(linear, 0, linear.value_dim)} : GgufOrder{};
    case LayerPart::linear_b:
    case LayerPart::linear_a:
    case LayerPart::linear_a_log:
    case LayerPart::linear_dt_bias:
      return tiles ? GgufOrder{.rows = tiled(linear, 0, 1)} : GgufOrder{};
    case LayerPart::linear_o:
      return tiles ? GgufOrder{.columns = tiled(linear, 0, linear.value_dim)} : GgufOrder{};
    default:
      return {};
  }
}

}  // namespace

std::vector<int64_t> paired_rows(int64_t rows, int64_t head) {
  Order order;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t within = row % head, half = head / 2;
    order.push_back(row - within + within % half * 2 + within / half);
  }
  return order;
}

GgufOrder gguf_order(const ModelConfig& config, const LayerTensor* tensor, std::string_view gguf_name, bool in_one) {
  const Architecture& architecture = *find_architecture(config.architecture);
  const auto part = tensor != nullptr ? std::optional(tensor->part) : std::nullopt;
  GgufOrder order;
  if (part) order = order_of_part(config, architecture, *part, in_one);
  // The converter adds the 1 to every tensor of such a name, but for the norm of linear attention's heads.
  if (architecture.norm == Norm::rms_plus_one && gguf_name.ends_with("norm.weight") && part != LayerPart::linear_norm) {
    order.values = GgufOrder::plus_one;
  }
  if (part == LayerPart::linear_a_log) order.values = GgufOrder::minus_exp;
  return order;
}

std::vector<int64_t> inverse_order(const std::vector<int64_t>& order) {
  std::vector<int64_t> inverse(order.size());
  for (size_t i = 0; i < order.size(); ++i) inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
  return inverse;
}

void from_gguf_values(GgufOrder::Values values, std::span<float> numbers) {
  if (values == GgufOrder::plus_one) {
    for (float& value : numbers) value -= 1;  // exact for 1 + w from 0.5 on
  } else if (values == GgufOrder::minus_exp) {
    for (float& value : numbers) value = static_cast<float>(std::log(-double{value}));
  }
}

void to_gguf_values(GgufOrder::Values values, std::span<float> numbers) {
  if (values == GgufOrder::plus_one) {
    for (float& value : numbers) value += 1;
  } else if (values == GgufOrder::minus_exp) {
    for (float& value : numbers) value = static_cast<float>(-std::exp(double{value}));
  }
}

std::vector<int64_t> shape_from_gguf(const LayerTensor* tensor, std::vector<int64_t> shape) {
  const auto part = tensor != nullptr ? std::optional(tensor->part) : std::nullopt;
  if (part == LayerPart::shared_gate && shape.size() == 1) shape.insert(shape.begin(), 1);
  if (part == LayerPart::linear_conv && shape.size() == 2) shape.insert(shape.begin() + 1, 1);
  return shape;
}

std::vector<int64_t> shape_in_gguf(const LayerTensor* tensor, std::vector<int64_t> shape) {
  const auto part = tensor != nullptr ? std::optional(tensor->part) : std::nullopt;
  if (part == LayerPart::shared_gate && shape.size() == 2) shape.erase(shape.begin());
  if (part == LayerPart::linear_conv && shape.size() == 3) shape.erase(shape.begin() + 1);
  return shape;
}

GgufPlacement gguf_placement(const ModelConfig& config, const LayerTensor* tensor, const std::vector<int64_t>& shape,
                             std::vector<TensorView> views, const std::string& source) {
  GgufPlacement placement;
  placement.views = std::move(views);
  const Architecture& architecture = *find_architecture(config.architecture);
  const TensorView& first = placement.views.front();
  // Orders are made for the configuration's extents, so these are checked before.
  const auto part = tensor != nullptr ? std::optional(tensor->part) : std::nullopt;
  const auto order = [&]() -> GgufOrder { return gguf_order(config, tensor, first.name, placement.views.size() == 1); };
  if (!part || shape.empty()) {
    placement.values = order().values;
    return placement;
  }

  const bool permuted = architecture.gguf_permutes_rows && (part == LayerPart::q || part == LayerPart::k);
  const int64_t rows = shape.front(), wanted = config.extent(tensor->rows);
  if (permuted && (rows != wanted || config.head_dim % 2 != 0)) {
    refuse(source, first, fmt::format("{} rows", rows),
           fmt::format("{} heads of {} rows, an even number", wanted / config.head_dim, config.head_dim));
  }
  const bool of_linear_attention = part >= LayerPart::linear_qkvz;
  if (of_linear_attention && rows != wanted) {
    refuse(source, first, fmt::format("{} rows", rows), fmt::format("{} by the metadata", wanted));
  }
  if (part == LayerPart::linear_o && (shape.size() != 2 || shape.back() != config.extent(tensor->cols))) {
    refuse(source, first, fmt::format("rows of [{}]", fmt::join(shape.begin() + 1, shape.end(), ", ")),
           fmt::format("[{}] by the metadata", config.extent(tensor->cols)));
  }
  static_cast<GgufOrder&>(placement) = order();
  return placement;
}

int64_t GgufPlacement::bytes() const {
  size_t all = 0;
  for (const TensorView& view : views) all += view.bytes.size();
  return static_cast<int64_t>(all);
}

void GgufPlacement::read(int64_t first, int64_t count, int64_t width, float* out) const {
  // Rows that follow one another in the file.
  const auto read_run = [&](int64_t begin, int64_t left, float* to) {
    for (const TensorView& view : views) {
      const int64_t here = view.elements() / std::max<int64_t>(width, 1), taken = std::min(left, here - begin);
      if (taken > 0) {
        read_f32(view, begin * width, taken * width, to);
        to += taken * width;
        left -= taken;
        begin = here;
      }
      begin -= here;
    }
  };
  if (rows.empty()) {
    read_run(first, count, out);
  } else {
    parallel_for(count, [&](int64_t r) { read_run(rows[static_cast<size_t>(first + r)], 1, out + r * width); });
  }
  from_gguf_values(values, {out, static_cast<size_t>(count * width)});
  if (columns.empty()) return;
  parallel_for(count, [&](int64_t r) {
    const std::vector<float> given(out + r * width, out + (r + 1) * width);
    for (int64_t k = 0; k < width; ++k) {
      out[r * width + k] = given[static_cast<size_t>(columns[static_cast<size_t>(k)])];
    }
  });
}

}  // namespace mxq
