#include "export/zero_codes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/half.h"
#include "mxq/error.h"
#include "schemes/affine/integer_zeros.h"
#include "schemes/part_bytes.h"
#include "schemes/stored_matrix.h"

namespace mxq {

std::vector<uint8_t> zero_codes(const std::string& name, const QuantizedMatrix& matrix, bool symmetric,
                                const std::string& operation) {
  const auto scales = matrix.part("scales"), biases = matrix.part("biases");
  const bool bf16 = matrix.layout.metadata == Metadata::bf16_bias;
  const auto step = static_cast<float>(affine::zero_step(matrix.layout.scheme.bits, matrix.layout.metadata));
  const int bits = matrix.layout.scheme.bits, middle = 1 << (bits - 1), most = (1 << bits) - 1;
  const auto value = [&](std::span<const std::byte> part, int64_t i) {
    const auto half = get_value<uint16_t>(part, i);
    return bf16 ? f32_from_bf16(half) : f32_from_f16(half);
  };
  std::vector<uint8_t> zeros(static_cast<size_t>(matrix.layout.groups()));
  for (int64_t i = 0; i < matrix.layout.groups(); ++i) {
    const float scale = value(scales, i), bias = value(biases, i), real = -bias / scale;
    const float nearest = std::clamp(step * std::nearbyint(real / step), 0.0f, static_cast<float>(most)),
                exact = -nearest * scale;
    const float stored = bf16 ? f32_from_bf16(bf16_from_f32(exact)) : f32_from_f16(f16_from_f32(exact));
    if (!(bias == stored) || (symmetric && nearest != static_cast<float>(middle))) {
      throw Error(ErrorCode::unsupported, operation, fmt::format("group {} of '{}' has the zero {}", i, name, real),
                  symmetric ? fmt::format("{}, the zero of all groups of {} bits", middle, bits)
                            : fmt::format("a whole number of 0 to {}", most));
    }
    zeros[static_cast<size_t>(i)] = static_cast<uint8_t>(nearest);
  }
  return zeros;
}

OutputTensors symmetric_output(const std::string& name, const QuantizedLayout& layout, std::vector<TensorSpec> specs,
                               std::function<QuantizedMatrix()> make, const std::string& operation) {
  OutputTensors output;
  output.specs = std::move(specs);
  output.work = layout.rows * layout.cols;
  output.write = [name, make = std::move(make), operation](SafetensorsWriter& writer) {
    const QuantizedMatrix matrix = make();
    check_numbers(name, matrix.view());
    zero_codes(name, matrix, true, operation);
    writer.write(matrix.part("codes"));
    writer.write(matrix.part("scales"));
  };
  return output;
}

}  // namespace mxq
