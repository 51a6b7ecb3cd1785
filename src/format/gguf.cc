#include "format/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

static_assert(std::endian::native == std::endian::little, "GGUF is read in place: little-endian machines only");

namespace {

constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint32_t kMaxDimensions = 4;
constexpr std::string_view kSupportedTypes =
    "F64, F32, F16, BF16, I8 to I64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ1_S to IQ4_XS, TQ1_0, TQ2_0 or "
    "MXFP4 "
    "(llama-quantize --allow-requantize FILE OUT F16 makes such a file, the model's original a better one)";

struct TensorType {
  uint32_t id;
  std::string_view name;
  std::optional<DType> dtype;
};

// Numbers of ggml's enum ggml_type; those without a DType are known by name only.
constexpr std::array kTensorTypes{
    TensorType{0, "F32", DType::f32},
    TensorType{1, "F16", DType::f16},
    TensorType{2, "Q4_0", DType::q4_0},
    TensorType{3, "Q4_1", DType::q4_1},
    TensorType{4, "Q4_2", std::nullopt},
    TensorType{5, "Q4_3", std::nullopt},
    TensorType{6, "Q5_0", DType::q5_0},
    TensorType{7, "Q5_1", DType::q5_1},
    TensorType{8, "Q8_0", DType::q8_0},
    TensorType{9, "Q8_1", std::nullopt},
    TensorType{10, "Q2_K", DType::q2_k},
    TensorType{11, "Q3_K", DType::q3_k},
    TensorType{12, "Q4_K", DType::q4_k},
    TensorType{13, "Q5_K", DType::q5_k},
    TensorType{14, "Q6_K", DType::q6_k},
    TensorType{15, "Q8_K", std::nullopt},
    TensorType{16, "IQ2_XXS", DType::iq2_xxs},
    TensorType{17, "IQ2_XS", DType::iq2_xs},
    TensorType{18, "IQ3_XXS", DType::iq3_xxs},
    TensorType{19, "IQ1_S", DType::iq1_s},
    TensorType{20, "IQ4_NL", DType::iq4_nl},
    TensorType{21, "IQ3_S", DType::iq3_s},
    TensorType{22, "IQ2_S", DType::iq2_s},
    TensorType{23, "IQ4_XS", DType::iq4_xs},
    TensorType{24, "I8", DType::i8},
    TensorType{25, "I16", DType::i16},
    TensorType{26, "I32", DType::i32},
    TensorType{27, "I64", DType::i64},
    TensorType{28, "F64", DType::f64},
    TensorType{29, "IQ1_M", DType::iq1_m},
    TensorType{30, "BF16", DType::bf16},
    TensorType{31, "Q4_0_4_4", std::nullopt},
    TensorType{32, "Q4_0_4_8", std::nullopt},
    TensorType{33, "Q4_0_8_8", std::nullopt},
    TensorType{34, "TQ1_0", DType::tq1_0},
    TensorType{35, "TQ2_0", DType::tq2_0},
    TensorType{36, "IQ4_NL_4_4", std::nullopt},
    TensorType{37, "IQ4_NL_4_8", std::nullopt},
    TensorType{38, "IQ4_NL_8_8", std::nullopt},
    TensorType{39, "MXFP4", DType::mxfp4},
    TensorType{40, "NVFP4", std::nullopt},
    TensorType{41, "Q1_0", std::nullopt},
};

// By GgufType, the bytes of an element; 0 for those whose length is in the file.
constexpr std::array<uint64_t, 13> kTypeBytes{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// Reads forward through the file; every read is checked against what is left.
class Cursor {
 public:
  Cursor(std::span<const std::byte> file, const std::string& source) : file_(file), operation_("read " + source) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return file_.size() - position_; }

  [[noreturn]] void invalid(std::string given, std::string supported = {}) const {
    throw Error(ErrorCode::invalid_file, operation_, std::move(given), std::move(supported));
  }
  [[noreturn]] void unsupported(std::string given, std::string supported = {}) const {
    throw Error(ErrorCode::unsupported, operation_, std::move(given), std::move(supported));
  }

  std::span<const std::byte> take(uint64_t bytes, std::string_view what) {
    if (bytes > left()) {
      invalid(fmt::format("{} needs {} bytes at offset {}, the file has {} there", what, bytes, position_, left()));
    }
    const auto result = file_.subspan(position_, bytes);
    position_ += bytes;
    return result;
  }

  template <typename T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string_view string(std::string_view what) {
    const auto length = number<uint64_t>(what);
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // A count of things that take at least `least` bytes each, refused before anything is allocated for them.
  uint64_t count(std::string_view what, uint64_t least) {
    const auto n = number<uint64_t>(what);
    if (n > left() / least) invalid(fmt::format("{} is {}, more than the {} bytes left can hold", what, n, left()));
    return n;
  }

 private:
  std::span<const std::byte> file_;
  std::string operation_;
  uint64_t position_ = 0;
};

GgufType read_type(Cursor& in, std::string_view key) {
  const auto id = in.number<uint32_t>("a metadata value's type");
  if (id >= kTypeBytes.size()) {
    in.invalid(fmt::format("metadata {} has value type {}", in_quotes(key), id), "0 to 12");
  }
  return static_cast<GgufType>(id);
}

bool read_bool(Cursor& in, std::byte byte, std::string_view key) {
  if (byte > std::byte{1}) {
    in.invalid(fmt::format("metadata {} has the bool {}", in_quotes(key), static_cast<int>(byte)), "0 or 1");
  }
  return byte == std::byte{1};
}

GgufArray read_array(Cursor& in, std::string_view key) {
  GgufArray array;
  array.element = read_type(in, key);
  const auto what = fmt::format("metadata {}", in_quotes(key));
  if (array.element == GgufType::array) in.unsupported(what + " is an array of arrays", "arrays of plain values");
  if (array.element == GgufType::string) {
    array.count = in.count("the length of " + what, sizeof(uint64_t));
    array.strings.reserve(array.count);
    for (uint64_t i = 0; i < array.count; ++i) array.strings.push_back(in.string(what));
    return array;
  }
  const uint64_t bytes = kTypeBytes[static_cast<size_t>(array.element)];
  array.count = in.count("the length of " + what, bytes);
  array.bytes = in.take(array.count * bytes, what);
  if (array.element == GgufType::boolean) {
    for (std::byte byte : array.bytes) read_bool(in, byte, key);
  }
  return array;
}

GgufValue read_value(Cursor& in, std::string_view key) {
  constexpr std::string_view what = "a metadata value";
  switch (read_type(in, key)) {
    case GgufType::u8:
      return in.number<uint8_t>(what);
    case GgufType::i8:
      return in.number<int8_t>(what);
    case GgufType::u16:
      return in.number<uint16_t>(what);
    case GgufType::i16:
      return in.number<int16_t>(what);
    case GgufType::u32:
      return in.number<uint32_t>(what);
    case GgufType::i32:
      return in.number<int32_t>(what);
    case GgufType::f32:
      return in.number<float>(what);
    case GgufType::boolean:
      return read_bool(in, in.number<std::byte>(what), key);
    case GgufType::string:
      return std::string(in.string(what));
    case GgufType::array:
      return read_array(in, key);
    case GgufType::u64:
      return in.number<uint64_t>(what);
    case GgufType::i64:
      return in.number<int64_t>(what);
    case GgufType::f64:
      return in.number<double>(what);
  }
  in.invalid("a metadata value of no type");  // read_type has refused it
}

struct TensorPlace {
  uint64_t offset;  // from the start of the data
  uint64_t bytes;
};

TensorPlace read_tensor_info(Cursor& in, uint64_t alignment, TensorView& tensor) {
  tensor.name = std::string(in.string("a tensor's name"));
  if (tensor.name.empty()) in.invalid("a tensor has no name");
  const std::string what = fmt::format("tensor {}", in_quotes(tensor.name));
  const auto dimensions = in.number<uint32_t>("the dimensions of " + what);
  if (dimensions > kMaxDimensions) {
    in.invalid(fmt::format("{} has {} dimensions", what, dimensions), fmt::format("at most {}", kMaxDimensions));
  }
  tensor.shape.resize(dimensions);
  int64_t elements = 1;
  bool overflow = false;
  // The file lists the contiguous dimension first. The product of the dimensions that are not 0 must fit, so that no
  // partial product of an empty tensor overflows either.
  for (uint32_t d = dimensions; d-- > 0;) {
    const auto extent = in.number<uint64_t>("the shape of " + what);
    if (extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      in.invalid(fmt::format("{} has a dimension of {}", what, extent), "less than 2^63");
    }
    tensor.shape[d] = static_cast<int64_t>(extent);
    if (extent != 0) overflow |= __builtin_mul_overflow(elements, tensor.shape[d], &elements);
  }
  if (overflow) in.invalid(fmt::format("{} has shape [{}]: too many elements", what, fmt::join(tensor.shape, ", ")));
  elements = tensor.elements();

  const auto id = in.number<uint32_t>("the type of " + what);
  const auto type = std::find_if(kTensorTypes.begin(), kTensorTypes.end(), [&](const auto& t) { return t.id == id; });
  if (type == kTensorTypes.end()) {
    in.unsupported(fmt::format("{} has ggml type {}", what, id), std::string(kSupportedTypes));
  }
  if (!type->dtype) in.unsupported(fmt::format("{} is {}", what, type->name), std::string(kSupportedTypes));
  tensor.dtype = *type->dtype;

  const int64_t block = dtype_block_elements(tensor.dtype);
  const int64_t row = dimensions > 0 ? tensor.shape.back() : 1;
  if (row % block != 0) {
    in.invalid(fmt::format("{} is {} with rows of {} elements", what, type->name, row),
               fmt::format("a multiple of {}", block));
  }
  TensorPlace place{};
  if (elements / block > std::numeric_limits<int64_t>::max() / dtype_block_bytes(tensor.dtype)) {
    in.invalid(fmt::format("{} has {} elements: too many bytes", what, elements));
  }
  place.bytes = static_cast<uint64_t>(dtype_bytes(tensor.dtype, elements));
  place.offset = in.number<uint64_t>("the offset of " + what);
  if (place.offset % alignment != 0) {
    in.invalid(fmt::format("{} is at offset {}", what, place.offset), fmt::format("a multiple of {}", alignment));
  }
  return place;
}

// Gives every tensor its bytes, after checking that they lie in the file and that no two tensors share any.
void place_tensors(const Cursor& in, std::span<const std::byte> data, const std::vector<TensorPlace>& places,
                   std::vector<TensorView>& tensors) {
  std::vector<size_t> order;
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i].bytes == 0) continue;
    if (places[i].offset > data.size() || places[i].bytes > data.size() - places[i].offset) {
      in.invalid(fmt::format("tensor {} takes {} bytes at offset {} of {} bytes of data", in_quotes(tensors[i].name),
                             places[i].bytes, places[i].offset, data.size()));
    }
    tensors[i].bytes = data.subspan(places[i].offset, places[i].bytes);
    order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return places[a].offset < places[b].offset; });
  for (size_t k = 1; k < order.size(); ++k) {
    const auto &before = places[order[k - 1]], &here = places[order[k]];
    if (before.offset + before.bytes > here.offset) {
      in.invalid(fmt::format("tensors {} and {} overlap", in_quotes(tensors[order[k - 1]].name),
                             in_quotes(tensors[order[k]].name)));
    }
  }
}

uint64_t read_alignment(const Cursor& in, const GgufFile& file) {
  const auto alignment = file.find_u32("general.alignment");
  if (!alignment) return 32;
  if (!std::has_single_bit(*alignment) || *alignment > kMaxAlignment) {
    in.invalid(fmt::format("general.alignment is {}", *alignment),
               fmt::format("a power of two, at most {}", kMaxAlignment));
  }
  return *alignment;
}

void read_header(Cursor& in, GgufFile& file) {
  const auto magic = in.take(4, "the magic number");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) in.invalid("the file does not begin with GGUF");
  file.version = in.number<uint32_t>("the version");
  // Of a big-endian file the version's low half is empty.
  if ((file.version & 0xffff) == 0 && file.version != 0) in.unsupported("a big-endian file", "little-endian GGUF");
  if (file.version != 2 && file.version != 3) {
    in.unsupported(fmt::format("GGUF version {}", file.version), "versions 2 and 3");
  }
}

}  // namespace

std::optional<uint32_t> gguf_tensor_type(DType dtype) {
  const auto type =
      std::find_if(kTensorTypes.begin(), kTensorTypes.end(), [&](const auto& t) { return t.dtype == dtype; });
  return type == kTensorTypes.end() ? std::nullopt : std::optional(type->id);
}

GgufFile parse_gguf(std::span<const std::byte> bytes, const std::string& source) {
  Cursor in(bytes, source);
  GgufFile file;
  file.source = source;
  read_header(in, file);
  // Least bytes: a tensor has name length, one byte of name, dimensions, type and offset; a metadata entry a key's
  // length, one byte of key, a type and one byte of value.
  constexpr uint64_t least_tensor = 8 + 1 + 4 + 4 + 8, least_entry = 8 + 1 + 4 + 1;
  const uint64_t tensors = in.count("the number of tensors", least_tensor);
  const uint64_t entries = in.count("the number of metadata entries", least_entry);

  for (uint64_t i = 0; i < entries; ++i) {
    std::string key(in.string("a metadata key"));
    if (key.empty()) in.invalid("a metadata key is empty");
    if (file.metadata.contains(key)) in.invalid(fmt::format("metadata {} is there twice", in_quotes(key)));
    GgufValue value = read_value(in, key);
    file.keys.push_back(key);
    file.metadata.emplace(std::move(key), std::move(value));
  }
  file.alignment = read_alignment(in, file);

  if (tensors > in.left() / least_tensor) {
    in.invalid(fmt::format("the number of tensors is {}, more than the {} bytes left can hold", tensors, in.left()));
  }
  std::vector<TensorPlace> places;
  places.reserve(tensors);
  file.tensors.reserve(tensors);
  std::set<std::string_view> names;
  for (uint64_t i = 0; i < tensors; ++i) {
    file.tensors.emplace_back();  // never moves what `names` points to: the room is reserved
    places.push_back(read_tensor_info(in, file.alignment, file.tensors.back()));
    if (!names.insert(file.tensors.back().name).second) {
      in.invalid(fmt::format("tensor {} is there twice", in_quotes(file.tensors.back().name)));
    }
  }

  // A file without tensors may end before the padding.
  const uint64_t mask = file.alignment - 1;
  const uint64_t begin = std::min<uint64_t>((in.position() + mask) & ~mask, bytes.size());
  place_tensors(in, bytes.subspan(begin), places, file.tensors);
  return file;
}

}  // namespace mxq
