// What a folder of AWQ says of its tensors. Of each matrix W, N x K, of 4 bits there are
//   NAME.qweight  I32 [K, N / 8]: a word has the codes of eight neighbouring rows of W, from the lowest nibble on those
//   of
//                 the rows 0 2 4 6 1 3 5 7
//   NAME.qzeros   I32 [G, N / 8]: the zeros, likewise
//   NAME.scales   [G, N]
// with W = (code - zero) * scale.
#include <fmt/format.h>

#include <utility>

#include "format/awq_config.h"
#include "format/hf_config.h"
#include "model/checkpoint_source.h"
#include "model/packed_columns.h"
#include "model/packed_tensors.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char *kConfig = "config.json", *kOwnConfig = "quant_config.json";
constexpr int64_t kNibbles = 8;  // of a word

PackedColumns read_matrix(const PackedTensors& tensors, const AwqConfig& config) {
  const TensorView &codes = tensors.matrix(".qweight"), &zeros = tensors.matrix(".qzeros");
  PackedColumns matrix;
  matrix.scales = tensors.scales(".scales");
  matrix.cols = codes.shape[0];
  matrix.rows = matrix.scales.shape[1];
  matrix.group = config.group > 0 ? std::min(config.group, matrix.cols) : matrix.cols;
  matrix.words_along_rows = true;
  matrix.codes = codes.bytes;
  matrix.zeros = zeros.bytes;
  const int64_t words = matrix.rows / kNibbles, groups = matrix.groups();
  if (matrix.rows % kNibbles != 0 || matrix.cols % matrix.group != 0 || codes.shape[1] != words ||
      zeros.shape != std::vector<int64_t>{groups, words} || matrix.scales.shape[0] != groups) {
    tensors.refuse(
        ErrorCode::invalid_file,
        fmt::format("'{}' has qweight {}, qzeros {} and scales {}, in groups of {} by the configuration",
                    tensors.name(), shape_text(codes), shape_text(zeros), shape_text(matrix.scales), matrix.group),
        "[K, N / 8], [K / group, N / 8] and [K / group, N]");
  }
  if (matrix.group < matrix.cols && matrix.group % 16 != 0) {
    tensors.refuse(ErrorCode::unsupported, fmt::format("'{}' has groups of {}", tensors.name(), matrix.group),
                   "multiples of 16");
  }
  return matrix;
}

}  // namespace

std::optional<QuantizedFolder> open_awq_folder(const fs::path& folder) {
  const fs::path own = folder / kOwnConfig;
  const std::string file = (folder / kConfig).string(), json = read_file(file);
  bool own_says_it = false;
  auto store = open_packed_tensors(folder, json, "awq", kOwnConfig, own_says_it);
  if (!store) return {};
  const auto config = own_says_it ? get_awq_config_alone(read_file(own), own.string()) : get_awq_config(json, file);
  if (!config) return {};
  return packed_folder(folder, json, std::move(*store), "awq",
                       [&](const PackedTensors& tensors) { return read_matrix(tensors, *config); });
}

}  // namespace mxq
