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

// HF pairs the two halves of a head, GGUF neighbouring rows.
Order pairs(int64_t rows, int64_t head) {
  Order order;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t within = row % head, half = head / 2;
    order.push_back(row - within + within % half * 2 + within / half);
  }
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

// Which order a part's rows are in, and which its columns.
struct Orders {
  Order rows, columns;
};

Orders orders_of(const ModelConfig& config, const Architecture& architecture, LayerPart part, bool in_one) {
  const LinearAttention& linear = config.linear;
  const bool tiles = architecture.gguf_tiles_value_heads && linear.value_heads != linear.key_heads;
  switch (part) {
    case LayerPart::q:
    case LayerPart::k:
      if (!architecture.gguf_permutes_rows) return {};
      return {pairs(config.extent(part == LayerPart::q ? Extent::queries : Extent::keys), config.head_dim), {}};
    case LayerPart::linear_qkvz:
      return in_one ? Orders{} : Orders{by_kind(linear), {}};
    case LayerPart::linear_qkv:
    case LayerPart::linear_conv:
      return tiles ? Orders{tiled(linear, 2 * linear.keys(), linear.value_dim), {}} : Orders{};
    case LayerPart::linear_z:
      return tiles ? Orders{tiled(linear, 0, linear.value_dim), {}} : Orders{};
    case LayerPart::linear_b:
    case LayerPart::linear_a:
    case LayerPart::linear_a_log:
    case LayerPart::linear_dt_bias:
      return tiles ? Orders{tiled(linear, 0, 1), {}} : Orders{};
    case LayerPart::linear_o:
      return tiles ? Orders{{}, tiled(linear, 0, linear.value_dim)} : Orders{};
    default:
      return {};
  }
}

}  // namespace

GgufPlacement gguf_placement(const ModelConfig& config, const LayerTensor* tensor, const std::vector<int64_t>& shape,
                             std::vector<TensorView> views, const std::string& source) {
  GgufPlacement placement{.views = std::move(views)};
  const Architecture& architecture = *find_architecture(config.architecture);
  const TensorView& first = placement.views.front();
  const auto part = tensor != nullptr ? std::optional(tensor->part) : std::nullopt;
  // The converter adds the 1 to every tensor of such a name, but for the norm of linear attention's heads.
  if (architecture.norm == Norm::rms_plus_one && first.name.ends_with("norm.weight") &&
      part != LayerPart::linear_norm) {
    placement.values = GgufPlacement::plus_one;
  }
  if (part == LayerPart::linear_a_log) placement.values = GgufPlacement::minus_exp;
  if (!part || shape.empty()) return placement;

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
  Orders orders = orders_of(config, architecture, *part, placement.views.size() == 1);
  placement.rows = std::move(orders.rows);
  placement.columns = std::move(orders.columns);
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
  const std::span<float> all(out, static_cast<size_t>(count * width));
  if (values == plus_one) {
    for (float& value : all) value -= 1;  // exact for 1 + w from 0.5 on
  } else if (values == minus_exp) {
    for (float& value : all) value = static_cast<float>(std::log(-double{value}));
  }
  if (columns.empty()) return;
  parallel_for(count, [&](int64_t r) {
    const std::vector<float> given(out + r * width, out + (r + 1) * width);
    for (int64_t k = 0; k < width; ++k) {
      out[r * width + k] = given[static_cast<size_t>(columns[static_cast<size_t>(k)])];
    }
  });
}

}  // namespace mxq
