// What a folder of compressed-tensors in the format pack-quantized says of its tensors. Of each matrix there are
//   NAME.weight_packed      I32 [N, ceil(K b / 32)]: of each row the codes, a dense stream of bits, padded to a word
//   NAME.weight_scale       [N, K / g], or [N, 1] where a row is one group
//   NAME.weight_shape       [2]: N, K
//   NAME.weight_zero_point  of asymmetric ones I32 [ceil(N b / 32), K / g]: of each column of zeros the codes, likewise
// with W = (code - zero) * scale; without zeros it is 2^(b - 1). That is the affine family but for the zeros, which
// are spelled out here.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string_view>

#include "base/bitpack.h"
#include "base/half.h"
#include "format/compressed_tensors_config.h"
#include "format/safetensors.h"
#include "format/weights.h"
#include "model/checkpoint_source.h"
#include "model/stored_groups.h"
#include "model/usual_zeros.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "schemes/part_bytes.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPacked = ".weight_packed", kScale = ".weight_scale", kShape = ".weight_shape",
                           kZeroPoint = ".weight_zero_point", kOrder = ".weight_g_idx";
constexpr int64_t kWord = 32;  // bits of an element of codes

/// What is kept in memory beside the files.
using Bytes = std::shared_ptr<std::vector<std::byte>>;

Bytes make_bytes(int64_t count) {
  return std::make_shared<std::vector<std::byte>>(static_cast<size_t>(count));
}

/// As a scale or zero of `dtype` is stored.
void put_float(std::span<std::byte> out, int64_t index, float value, DType dtype) {
  write_dtype(&value, 1, dtype, out.data() + index * dtype_block_bytes(dtype));
}

/// One matrix of the folder.
class Reader {
 public:
  Reader(const fs::path& folder, const TensorStore& store, std::string name, const CompressedTensorsConfig& config)
      : operation_("read " + folder.string()), store_(store), name_(std::move(name)), config_(config) {}

  /// All but a part "zeros" that is the same for all groups: it is left empty.
  QuantizedFolder::Matrix read(std::vector<Bytes>& made) {
    look();
    QuantizedFolder::Matrix matrix;
    matrix.name = name_;
    matrix.dtype = scale_->dtype;
    for (const TensorView* view : {packed_, scale_, shape_, zero_point_}) {
      if (view != nullptr) matrix.parts.push_back(view->name);
    }
    QuantizedLayout& layout = matrix.view.layout;
    layout = {rows_, cols_, {static_cast<int>(weights_.bits), stored_group(cols_, group_)}, 1, metadata()};
    matrix.view.parts = {codes(layout, made), scales(layout, made), zeros(layout, made)};
    return matrix;
  }

 private:
  /// Finds the tensors and what they are, and checks all shapes.
  void look() {
    packed_ = &tensor(kPacked);
    scale_ = &tensor(kScale);
    shape_ = &tensor(kShape);
    zero_point_ = store_.find(name_ + std::string(kZeroPoint));
    if (store_.find(name_ + std::string(kOrder)) != nullptr) {
      refuse(ErrorCode::unsupported, fmt::format("'{}{}': columns in an order of their own", name_, kOrder),
             "groups of neighbouring columns");
    }
    if (packed_->shape.size() != 2) {
      refuse(ErrorCode::unsupported, fmt::format("'{}' has {} dimensions", packed_->name, packed_->shape.size()),
             "2: stacks of experts are not read");
    }
    if (packed_->dtype != DType::i32) refuse_dtype(*packed_, "I32");
    if (scale_->dtype != DType::f16 && scale_->dtype != DType::bf16 && scale_->dtype != DType::f32) {
      refuse_dtype(*scale_, "F16, BF16 or F32");
    }
    read_shape();
    if (scale_->shape.size() != 2 || scale_->shape[0] != rows_ || scale_->shape[1] < 1) {
      refuse(ErrorCode::unsupported, fmt::format("'{}' is no list of scales for each of {} rows", scale_->name, rows_),
             "scales of groups or of rows");
    }
    per_row_ = scale_->shape[1];
    find_weights();
    if (zero_point_ != nullptr && zero_point_->dtype != DType::i8) {
      if (zero_point_->dtype != DType::i32) refuse_dtype(*zero_point_, "I32 or I8");
      if (zero_point_->shape != std::vector<int64_t>{words(rows_), per_row_}) wrong_shape(*zero_point_);
    } else if (zero_point_ != nullptr && zero_point_->shape != scale_->shape) {
      wrong_shape(*zero_point_);
    }
  }

  void read_shape() {
    int64_t shape[2] = {};
    if (shape_->elements() != 2) wrong_shape(*shape_);
    if (shape_->dtype == DType::i64) {
      std::memcpy(shape, shape_->bytes.data(), sizeof shape);
    } else if (shape_->dtype == DType::i32) {
      for (int i = 0; i < 2; ++i) shape[i] = get_value<int32_t>(shape_->bytes, i);
    } else {
      refuse_dtype(*shape_, "I64 or I32");
    }
    rows_ = shape[0];
    cols_ = shape[1];
    constexpr int64_t kMost = int64_t{1} << 31;
    if (rows_ < 1 || cols_ < 1 || rows_ > kMost || cols_ > kMost || packed_->shape[0] != rows_) {
      refuse(ErrorCode::invalid_file,
             fmt::format("'{}' says {} x {}, and '{}' has {} rows", shape_->name, rows_, cols_, packed_->name,
                         packed_->shape[0]),
             "the same rows");
    }
  }

  /// The group of the config that the shapes are of.
  void find_weights() {
    const auto fits = [&](const PackedWeights& weights) {
      const int64_t group = weights.group > 0 ? weights.group : cols_;
      return cols_ % group == 0 && cols_ / group == per_row_ && weights.symmetric == (zero_point_ == nullptr) &&
             packed_->shape[1] == (cols_ * weights.bits + kWord - 1) / kWord;
    };
    bool found = false;
    for (const auto& group : config_.groups) {
      if (!fits(group.weights)) continue;
      // Rows of a few columns may take as many words with other bits.
      if (found && weights_.bits != group.weights.bits) {
        refuse(ErrorCode::unsupported,
               fmt::format("'{}' may be of {} or {} bits", name_, weights_.bits, group.weights.bits),
               "rows of at least 32 codes");
      }
      weights_ = group.weights;
      found = true;
    }
    if (!found) {
      refuse(ErrorCode::invalid_file,
             fmt::format("'{}' of {} x {} has {} words and {} groups a row{}", name_, rows_, cols_, packed_->shape[1],
                         per_row_, zero_point_ != nullptr ? ", with zeros" : ""),
             "bits and groups of one of config_groups");
    }
    if (weights_.bits < 2) refuse(ErrorCode::unsupported, fmt::format("'{}' has 1 bit", name_), "2 to 8 bits");
    group_ = weights_.group > 0 ? weights_.group : cols_;
    if (per_row_ > 1 && group_ % 16 != 0) {
      refuse(ErrorCode::unsupported, fmt::format("'{}' has groups of {}", name_, group_), "multiples of 16");
    }
  }

  /// Those whose arithmetic is that of the file: a bias where that is exact in 16 bits, as it is for a power of two.
  Metadata metadata() const {
    if (scale_->dtype == DType::f16) return Metadata::f16;
    return scale_->dtype == DType::bf16 && zero_point_ == nullptr ? Metadata::bf16_bias : Metadata::f32;
  }

  std::span<const std::byte> codes(const QuantizedLayout& layout, std::vector<Bytes>& made) const {
    const auto row = static_cast<size_t>(layout.code_row_bytes()), stored = static_cast<size_t>(4 * packed_->shape[1]);
    if (row == stored) return packed_->bytes;
    const Bytes& bytes = made.emplace_back(make_bytes(layout.parts()[0].bytes()));
    for (int64_t r = 0; r < rows_; ++r) {
      std::memcpy(bytes->data() + static_cast<size_t>(r) * row, packed_->bytes.data() + static_cast<size_t>(r) * stored,
                  row);
    }
    return *bytes;
  }

  /// Number, in the file, of the group that a group of the layout is a part of.
  template <typename Body>
  void for_groups(const QuantizedLayout& layout, const Body& body) const {
    const int64_t parts = layout.groups() / rows_;
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t g = 0; g < parts; ++g) body(r * parts + g, r, file_group(g, layout.scheme.group, cols_, group_));
    }
  }

  std::span<const std::byte> scales(const QuantizedLayout& layout, std::vector<Bytes>& made) const {
    const PartSpec part = layout.parts()[1];
    if (part.dtype == scale_->dtype && layout.groups() == scale_->elements()) return scale_->bytes;
    const Bytes& bytes = made.emplace_back(make_bytes(part.bytes()));
    for_groups(layout, [&](int64_t to, int64_t r, int64_t g) { put_float(*bytes, to, scale_of(r, g), part.dtype); });
    return *bytes;
  }

  /// Empty: the usual zero.
  std::span<const std::byte> zeros(const QuantizedLayout& layout, std::vector<Bytes>& made) const {
    const PartSpec part = layout.parts()[2];
    const auto middle = static_cast<float>(1 << (weights_.bits - 1));
    if (zero_point_ == nullptr && !has_bias(layout.metadata)) return {};
    const Bytes& bytes = made.emplace_back(make_bytes(part.bytes()));
    if (zero_point_ == nullptr) {
      for_groups(layout, [&](int64_t to, int64_t r, int64_t g) {
        put_float(*bytes, to, -middle * scale_of(r, g), part.dtype);
      });
      return *bytes;
    }
    const std::vector<uint8_t> zeros = zero_codes();
    for_groups(layout, [&](int64_t to, int64_t r, int64_t g) {
      put_float(*bytes, to, zeros[static_cast<size_t>(r * per_row_ + g)], part.dtype);
    });
    return *bytes;
  }

  float scale_of(int64_t row, int64_t group) const {
    float value = 0;
    read_f32(*scale_, row * per_row_ + group, 1, &value);
    return value;
  }

  /// [rows, groups of a row], from streams down the columns.
  std::vector<uint8_t> zero_codes() const {
    std::vector<uint8_t> zeros(static_cast<size_t>(rows_ * per_row_));
    const auto bits = static_cast<int>(weights_.bits);
    if (zero_point_->dtype == DType::i8) {
      for (size_t i = 0; i < zeros.size(); ++i) {
        zeros[i] =
            static_cast<uint8_t>(get_value<int8_t>(zero_point_->bytes, static_cast<int64_t>(i)) + (1 << (bits - 1)));
      }
      return zeros;
    }
    std::vector<std::byte> stream(static_cast<size_t>(4 * words(rows_)));
    std::vector<uint8_t> column(static_cast<size_t>(rows_));
    for (int64_t g = 0; g < per_row_; ++g) {
      for (int64_t w = 0; w < words(rows_); ++w) {
        std::memcpy(stream.data() + 4 * w, zero_point_->bytes.data() + 4 * (w * per_row_ + g), 4);
      }
      unpack_codes(stream, bits, 0, rows_, column.data());
      for (int64_t r = 0; r < rows_; ++r) zeros[static_cast<size_t>(r * per_row_ + g)] = column[static_cast<size_t>(r)];
    }
    return zeros;
  }

  int64_t words(int64_t count) const { return (count * weights_.bits + kWord - 1) / kWord; }

  const TensorView& tensor(std::string_view ending) const {
    const TensorView* const found = store_.find(name_ + std::string(ending));
    if (found == nullptr) {
      throw Error(ErrorCode::invalid_file, operation_, fmt::format("tensor '{}{}' is missing", name_, ending));
    }
    return *found;
  }
  [[noreturn]] void refuse(ErrorCode code, std::string given, std::string allowed) const {
    throw Error(code, operation_, std::move(given), std::move(allowed));
  }
  [[noreturn]] void refuse_dtype(const TensorView& view, const char* allowed) const {
    refuse(ErrorCode::unsupported, fmt::format("'{}' is {}", view.name, dtype_name(view.dtype)), allowed);
  }
  [[noreturn]] void wrong_shape(const TensorView& view) const {
    refuse(ErrorCode::invalid_file, fmt::format("'{}' has {} elements", view.name, view.elements()),
           fmt::format("those of a {} x {} matrix", rows_, cols_));
  }

  std::string operation_;
  const TensorStore& store_;
  std::string name_;
  const CompressedTensorsConfig& config_;
  const TensorView *packed_ = nullptr, *scale_ = nullptr, *shape_ = nullptr, *zero_point_ = nullptr;
  int64_t rows_ = 0, cols_ = 0, per_row_ = 0, group_ = 0;  // of the file
  PackedWeights weights_;
};

}  // namespace

QuantizedFolder open_compressed_tensors(const fs::path& folder) {
  const std::string file = (folder / "config.json").string(), json = read_file(file);
  QuantizedFolder result;
  result.path = folder;
  result.store = open_safetensors(folder);
  const bool plain =
      std::none_of(result.store.tensors().begin(), result.store.tensors().end(),
                   [](const TensorView& view) { return view.name.ends_with(kPacked) || view.name.ends_with(kScale); });
  if (plain) return result;
  const CompressedTensorsConfig config = get_compressed_tensors(json, file).value_or(CompressedTensorsConfig{});
  result.config_json = set_compressed_tensors(json, std::nullopt, file);
  result.config = parse_hf_config(result.config_json, file);
  for (const TensorView& view : result.store.tensors()) {
    if (!view.name.ends_with(kPacked)) continue;
    result.matrices.push_back(
        Reader(folder, result.store, view.name.substr(0, view.name.size() - kPacked.size()), config).read(result.made));
  }
  if (result.matrices.empty()) {
    throw Error(ErrorCode::invalid_file, "read " + folder.string(), "no tensor is called NAME.weight_packed",
                "the matrices that 'quantization_config' speaks of");
  }
  add_usual_zeros(result);
  return result;
}

}  // namespace mxq
