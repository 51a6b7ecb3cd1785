// What a folder of GPTQ says of its tensors. Of each matrix W, N x K, there are
//   NAME.qweight  I32 [K b / 32, N]: of each column the codes, a dense stream of bits down the words
//   NAME.qzeros   I32 [G, N b / 32]: of each group the zeros, likewise along the row; of version 1 less one
//   NAME.scales   [G, N]
//   NAME.g_idx    I32 [K]: the group of each column of W; it may be missing where columns are in order
// with W = (code - zero) * scale. Bits and groups are what the shapes say, and one of those that the configuration has.
#include <fmt/format.h>

#include <memory>
#include <string_view>
#include <utility>

#include "format/gptq_config.h"
#include "format/hf_config.h"
#include "format/safetensors.h"
#include "model/checkpoint_source.h"
#include "model/packed_columns.h"
#include "model/packed_tensors.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "schemes/part_bytes.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char *kConfig = "config.json", *kOwnConfig = "quantize_config.json";
constexpr int64_t kWord = 32;  // bits of an element of codes

/// One matrix of the folder.
class Reader {
 public:
  Reader(const PackedTensors& tensors, const GptqPacking& packing) : tensors_(tensors), packing_(packing) {}

  PackedColumns read() {
    codes_ = &tensors_.matrix(".qweight");
    zeros_ = &tensors_.matrix(".qzeros");
    matrix_.scales = tensors_.scales(".scales");
    groups_ = tensors_.find(".g_idx");
    matrix_.rows = codes_->shape[1];
    find_scheme();
    if (groups_ != nullptr) read_groups();
    matrix_.codes = codes_->bytes;
    matrix_.zeros = zeros_->bytes;
    matrix_.zeros_less_one = packing_.less_one;
    matrix_.zeros_carry = packing_.carries;
    return std::move(matrix_);
  }

 private:
  void find_scheme() {
    if (groups_ != nullptr) {
      if (groups_->dtype != DType::i32) tensors_.refuse_dtype(*groups_, "I32");
      if (groups_->shape.size() != 1 || groups_->shape[0] < 1)
        tensors_.wrong_shape(*groups_, "a group for each column");
    } else if (packing_.by_activations) {
      tensors_.missing(".g_idx");
    }
    bool found = false, alike = true;
    for (const GptqScheme& scheme : packing_.schemes) {
      const int64_t cols = groups_ != nullptr ? groups_->shape[0] : codes_->shape[0] * kWord / scheme.bits;
      const int64_t group = scheme.group > 0 ? std::min(scheme.group, cols) : cols;
      const auto words = [&](int64_t count) {
        return count * scheme.bits % kWord == 0 ? count * scheme.bits / kWord : -1;
      };
      const int64_t of_row = words(matrix_.rows), groups = cols > 0 ? (cols + group - 1) / group : 0;
      if (cols < 1 || codes_->shape[0] != words(cols) || zeros_->shape != std::vector<int64_t>{groups, of_row} ||
          matrix_.scales.shape != std::vector<int64_t>{groups, matrix_.rows}) {
        continue;
      }
      if (!found) {
        matrix_.cols = cols;
        matrix_.bits = scheme.bits;
        matrix_.group = group;
        matrix_.symmetric = scheme.symmetric;
        found = true;
      }
      alike &= matrix_.cols == cols && matrix_.bits == scheme.bits && matrix_.group == group;
      matrix_.symmetric &= scheme.symmetric;
    }
    if (!found) {
      tensors_.refuse(ErrorCode::invalid_file,
                      fmt::format("'{}' has qweight {}, qzeros {} and scales {}", tensors_.name(), shape_text(*codes_),
                                  shape_text(*zeros_), shape_text(matrix_.scales)),
                      "bits and groups that the configuration has, in whole words");
    }
    if (!alike) {
      tensors_.refuse(ErrorCode::unsupported,
                      fmt::format("'{}' may be in two of the configuration's schemes", tensors_.name()),
                      "a 'g_idx', which tells them apart");
    }
    if (matrix_.group < matrix_.cols && matrix_.group % 16 != 0) {
      tensors_.refuse(ErrorCode::unsupported, fmt::format("'{}' has groups of {}", tensors_.name(), matrix_.group),
                      "multiples of 16");
    }
  }

  /// Columns may be in groups of any order, but each group has its columns.
  void read_groups() {
    const int64_t groups = matrix_.groups();
    std::vector<int64_t> members(static_cast<size_t>(groups));
    std::vector<int32_t> group_of(static_cast<size_t>(matrix_.cols));
    bool in_order = true;
    for (int64_t i = 0; i < matrix_.cols; ++i) {
      const auto group = get_value<int32_t>(groups_->bytes, i);
      if (group < 0 || group >= groups) {
        tensors_.refuse(ErrorCode::invalid_file,
                        fmt::format("'{}' has the group {} for column {}", groups_->name, group, i),
                        fmt::format("0 to {}", groups - 1));
      }
      ++members[static_cast<size_t>(group)];
      group_of[static_cast<size_t>(i)] = group;
      in_order &= group == i / matrix_.group;
    }
    if (in_order) return;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t wanted = std::min(matrix_.group, matrix_.cols - g * matrix_.group);
      if (members[static_cast<size_t>(g)] == wanted) continue;
      tensors_.refuse(ErrorCode::unsupported,
                      fmt::format("'{}' has {} columns in group {}", groups_->name, members[static_cast<size_t>(g)], g),
                      fmt::format("{}", wanted));
    }
    matrix_.group_of = std::move(group_of);
  }

  const PackedTensors& tensors_;
  const GptqPacking& packing_;
  const TensorView *codes_ = nullptr, *zeros_ = nullptr, *groups_ = nullptr;
  PackedColumns matrix_;
};

}  // namespace

std::optional<QuantizedFolder> open_gptq_folder(const fs::path& folder) {
  const fs::path own = folder / kOwnConfig;
  const std::string file = (folder / kConfig).string(), json = read_file(file);
  bool own_says_it = false;
  auto store = open_packed_tensors(folder, json, "gptq", kOwnConfig, own_says_it);
  if (!store) return {};
  const auto packing =
      own_says_it ? get_gptq_packing_alone(read_file(own), own.string()) : get_gptq_packing(json, file);
  if (!packing) return {};
  const std::string how =
      fmt::format("gptq{}{}", packing->less_one ? " less one" : "", packing->carries ? " carries" : "");
  return packed_folder(folder, json, std::move(*store), how,
                       [&](const PackedTensors& tensors) { return Reader(tensors, *packing).read(); });
}

}  // namespace mxq
