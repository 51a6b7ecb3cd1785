#include "format/gguf.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/mapped_file.h"
#include "expect_error.h"
#include "gguf_builder.h"
#include "mxq/error.h"
#include "shared_data.h"

namespace mxq {
namespace {

using ::testing::ElementsAre;

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

GgufFile parse(const std::string& file) {
  return parse_gguf(as_bytes(file), "test.gguf");
}

void expect_refused(ErrorCode code, std::string_view message, const GgufBuilder& builder) {
  const std::string file = builder.build();
  expect_error(code, message, [&] { parse(file); });
}

// One of everything.
GgufBuilder small_model() {
  GgufBuilder b;
  b.string("general.architecture", "llama").u32("llama.block_count", 1).f32("llama.eps", 0.5f);
  b.boolean("flag", true).strings("tokens", {"a", "", "bcd"});
  b.raw("u8", 0, GgufBytes().number<uint8_t>(200)).raw("i8", 1, GgufBytes().number<int8_t>(-3));
  b.raw("u16", 2, GgufBytes().number<uint16_t>(60000)).raw("i16", 3, GgufBytes().number<int16_t>(-300));
  b.raw("i32", 5, GgufBytes().number<int32_t>(-70000)).raw("u64", 10, GgufBytes().number<uint64_t>(1ull << 40));
  b.raw("i64", 11, GgufBytes().number<int64_t>(7)).raw("f64", 12, GgufBytes().number<double>(0.25));
  b.numbers<int32_t>("types", 5, {1, -2, 3}).numbers<float>("scores", 6, {0.5f, -1.f});
  b.numbers<uint8_t>("flags", 7, {0, 1});
  b.f32_tensor("w", {2, 3}, {1, 2, 3, 4, 5, 6});
  b.tensor("q", 3, {2, 32}, std::string(40, 'q'));
  b.f32_tensor("scalar", {}, {7});
  b.f32_tensor("empty", {0, 5}, {});
  return b;
}

TEST(Gguf, ReadsEveryKindOfValueAndTensor) {
  for (uint32_t version : {2u, 3u}) {
    GgufBuilder builder = small_model();
    builder.version = version;
    const std::string bytes = builder.build();
    const GgufFile file = parse(bytes);
    EXPECT_EQ(file.version, version);
    EXPECT_EQ(file.alignment, 32u);
    EXPECT_EQ(file.metadata.size(), 16u);
    EXPECT_EQ(file.get_string("general.architecture"), "llama");
    EXPECT_EQ(file.get_u32("llama.block_count"), 1u);
    EXPECT_EQ(file.get_f32("llama.eps"), 0.5f);
    EXPECT_EQ(file.get_f32("f64"), 0.25f);
    EXPECT_TRUE(file.get_bool("flag"));
    EXPECT_THAT(file.get_strings("tokens"), ElementsAre("a", "", "bcd"));
    EXPECT_EQ(file.get_u32("u8"), 200u);
    EXPECT_EQ(file.get_u32("u16"), 60000u);
    EXPECT_EQ(file.get_u32("i64"), 7u);
    EXPECT_EQ(std::get<int8_t>(*file.find("i8")), -3);
    EXPECT_EQ(std::get<int16_t>(*file.find("i16")), -300);
    EXPECT_EQ(std::get<int32_t>(*file.find("i32")), -70000);
    EXPECT_EQ(std::get<uint64_t>(*file.find("u64")), 1ull << 40);
    EXPECT_THAT(file.get_ints("types"), ElementsAre(1, -2, 3));
    EXPECT_THAT(file.get_f32s("scores"), ElementsAre(0.5f, -1.f));
    EXPECT_EQ(std::get<GgufArray>(*file.find("flags")).count, 2u);

    ASSERT_EQ(file.tensors.size(), 4u);
    EXPECT_EQ(file.tensors[0].name, "w");
    EXPECT_EQ(file.tensors[0].dtype, DType::f32);
    EXPECT_THAT(file.tensors[0].shape, ElementsAre(2, 3));
    float third = 0;
    std::memcpy(&third, file.tensors[0].bytes.data() + 8, 4);
    EXPECT_EQ(third, 3.f);
    EXPECT_EQ(file.tensors[1].dtype, DType::q4_1);
    EXPECT_EQ(file.tensors[1].bytes.size(), 40u);
    EXPECT_EQ(file.tensors[1].bytes[39], std::byte{'q'});
    EXPECT_THAT(file.tensors[2].shape, ElementsAre());
    EXPECT_EQ(file.tensors[2].bytes.size(), 4u);
    EXPECT_EQ(file.tensors[3].bytes.size(), 0u);
  }
}

TEST(Gguf, EveryTensorTypeHasItsSize) {
  // Bytes of 256 elements: ggml's enum ggml_type and its sizes, as gguf/constants.py of the package has them.
  const std::vector<std::tuple<uint32_t, DType, size_t>> types{
      {0, DType::f32, 1024},    {1, DType::f16, 512},    {2, DType::q4_0, 144},    {3, DType::q4_1, 160},
      {6, DType::q5_0, 176},    {7, DType::q5_1, 192},   {8, DType::q8_0, 272},    {10, DType::q2_k, 84},
      {11, DType::q3_k, 110},   {12, DType::q4_k, 144},  {13, DType::q5_k, 176},   {14, DType::q6_k, 210},
      {16, DType::iq2_xxs, 66}, {17, DType::iq2_xs, 74}, {18, DType::iq3_xxs, 98}, {19, DType::iq1_s, 50},
      {20, DType::iq4_nl, 144}, {21, DType::iq3_s, 110}, {22, DType::iq2_s, 82},   {23, DType::iq4_xs, 136},
      {24, DType::i8, 256},     {25, DType::i16, 512},   {26, DType::i32, 1024},   {27, DType::i64, 2048},
      {28, DType::f64, 2048},   {29, DType::iq1_m, 56},  {30, DType::bf16, 512},   {34, DType::tq1_0, 54},
      {35, DType::tq2_0, 66},   {39, DType::mxfp4, 136}};
  for (const auto& [id, dtype, bytes] : types) {
    GgufBuilder builder;
    builder.tensor("t", id, {2, 256}, std::string(2 * bytes, 'x'));
    const std::string file = builder.build();
    const GgufFile parsed = parse(file);
    EXPECT_EQ(parsed.tensors[0].dtype, dtype);
    EXPECT_EQ(parsed.tensors[0].bytes.size(), 2 * bytes) << dtype_name(dtype);
    // One byte less is out of range.
    const std::string shorter = file.substr(0, file.size() - 1);
    expect_error(ErrorCode::invalid_file, "tensor 't' takes", [&] { parse(shorter); });
  }
}

TEST(Gguf, ObeysAlignment) {
  GgufBuilder builder;
  builder.alignment = 256;
  builder.u32("general.alignment", 256).f32_tensor("a", {1}, {1}).f32_tensor("b", {1}, {2});
  const std::string bytes = builder.build();
  const GgufFile file = parse(bytes);
  EXPECT_EQ(file.alignment, 256u);
  EXPECT_EQ(reinterpret_cast<const char*>(file.tensors[1].bytes.data()) - bytes.data(),
            static_cast<ptrdiff_t>(builder.header_size() + 256));
  for (uint32_t bad : {0u, 3u, 48u, 1u << 21, 1u << 31}) {
    expect_refused(ErrorCode::invalid_file, fmt::format("general.alignment is {}", bad),
                   GgufBuilder().u32("general.alignment", bad));
  }
  expect_refused(ErrorCode::invalid_file, "'general.alignment' is the string",
                 GgufBuilder().string("general.alignment", "8"));
}

TEST(Gguf, RefusesWhatIsNoGguf) {
  GgufBuilder builder;
  builder.magic = "GGML";
  expect_refused(ErrorCode::invalid_file, "does not begin with GGUF", builder);
  builder.magic = "GGUF";
  for (uint32_t version : {0u, 1u, 4u}) {
    builder.version = version;
    expect_refused(ErrorCode::unsupported, fmt::format("GGUF version {}", version), builder);
  }
  builder.version = 3u << 24;
  expect_refused(ErrorCode::unsupported, "big-endian", builder);
  expect_error(ErrorCode::invalid_file, "the file has 0 there", [] { parse(""); });
}

TEST(Gguf, RefusesCountsThatCannotBe) {
  for (uint64_t extra : {uint64_t{1} << 20, uint64_t{1} << 40, ~uint64_t{0}}) {
    GgufBuilder builder;
    builder.extra_tensors = extra;
    expect_refused(ErrorCode::invalid_file, fmt::format("the number of tensors is {}", extra), builder);
    builder.extra_tensors = 0;
    builder.extra_entries = extra;
    expect_refused(ErrorCode::invalid_file, fmt::format("the number of metadata entries is {}", extra), builder);
    for (uint32_t element : {0u, 6u, 8u, 12u}) {
      expect_refused(ErrorCode::invalid_file, fmt::format("the length of metadata 'k' is {}", extra),
                     GgufBuilder().raw("k", 9, GgufBytes().number(element).number(extra)));
    }
    expect_refused(ErrorCode::invalid_file, fmt::format("needs {} bytes", extra),
                   GgufBuilder().raw("k", 8, GgufBytes().number(extra)));
  }
}

TEST(Gguf, RefusesBadMetadata) {
  expect_refused(ErrorCode::invalid_file, "metadata 'k' has value type 13", GgufBuilder().raw("k", 13, {}));
  expect_refused(ErrorCode::invalid_file, "metadata 'k' is there twice", GgufBuilder().u32("k", 1).u32("k", 2));
  expect_refused(ErrorCode::invalid_file, "key is empty", GgufBuilder().u32("", 1));
  expect_refused(ErrorCode::unsupported, "metadata 'k' is an array of arrays",
                 GgufBuilder().raw("k", 9, GgufBytes().number<uint32_t>(9).number<uint64_t>(0)));
  expect_refused(ErrorCode::invalid_file, "metadata 'k' has the bool 2",
                 GgufBuilder().raw("k", 7, GgufBytes().number<uint8_t>(2)));
  expect_refused(ErrorCode::invalid_file, "metadata 'k' has the bool 9",
                 GgufBuilder().raw("k", 9, GgufBytes().number<uint32_t>(7).number<uint64_t>(1).number<uint8_t>(9)));
  // Text from the file never breaks the line.
  expect_refused(ErrorCode::invalid_file, "metadata 'a\\nb' has value type 99", GgufBuilder().raw("a\nb", 99, {}));
}

TEST(Gguf, RefusesBadTensors) {
  const std::string data(64, 'x');
  expect_refused(ErrorCode::unsupported, "tensor 't' is Q8_K; expected F64, F32, F16, BF16, I8 to I64, Q4_0",
                 GgufBuilder().tensor("t", 15, {1, 256}, data));
  expect_refused(ErrorCode::unsupported, "tensor 't' is NVFP4", GgufBuilder().tensor("t", 40, {1, 64}, data));
  expect_refused(ErrorCode::unsupported, "tensor 't' has ggml type 77", GgufBuilder().tensor("t", 77, {1, 32}, data));
  expect_refused(ErrorCode::invalid_file, "tensor 't' is there twice",
                 GgufBuilder().tensor("t", 0, {1}, data).tensor("t", 0, {1}, data));
  expect_refused(ErrorCode::invalid_file, "a tensor has no name", GgufBuilder().tensor("", 0, {1}, data));
  expect_refused(ErrorCode::invalid_file, "tensor 't' has 5 dimensions",
                 GgufBuilder().tensor("t", 0, {1, 1, 1, 1, 1}, data));
  expect_refused(ErrorCode::invalid_file, "tensor 't' is Q8_0 with rows of 33 elements; expected a multiple of 32",
                 GgufBuilder().tensor("t", 8, {32, 33}, data));
  // Whole blocks in all are not enough: each row has its own.
  expect_refused(ErrorCode::invalid_file, "tensor 't' is Q4_K with rows of 896 elements; expected a multiple of 256",
                 GgufBuilder().tensor("t", 12, {2, 896}, std::string(1008, 'x')));
  expect_refused(ErrorCode::invalid_file, "tensor 't' is Q8_0 with rows of 1 elements",
                 GgufBuilder().tensor("t", 8, {}, data));
  expect_refused(ErrorCode::invalid_file, "tensor 't' is at offset 8; expected a multiple of 32",
                 GgufBuilder().tensor_info("t", 0, {1}, 8));
  expect_refused(ErrorCode::invalid_file, "tensor 't' takes 4 bytes at offset 32 of 0 bytes",
                 GgufBuilder().tensor_info("t", 0, {1}, 32));
  expect_refused(ErrorCode::invalid_file, "tensor 't' takes 4 bytes at offset 18446744073709551584",
                 GgufBuilder().tensor_info("t", 0, {1}, ~uint64_t{31}));
  expect_refused(ErrorCode::invalid_file, "too many elements",
                 GgufBuilder().tensor_info("t", 0, {uint64_t{1} << 32, uint64_t{1} << 32}, 0));
  expect_refused(ErrorCode::invalid_file, "too many elements",
                 GgufBuilder().tensor_info("t", 0, {uint64_t{1} << 62, 4, 0, uint64_t{1} << 62}, 0));
  expect_refused(ErrorCode::invalid_file, "too many bytes", GgufBuilder().tensor_info("t", 0, {uint64_t{1} << 62}, 0));
  expect_refused(ErrorCode::invalid_file, "has a dimension of 9223372036854775808",
                 GgufBuilder().tensor_info("t", 0, {uint64_t{1} << 63}, 0));
  expect_refused(ErrorCode::invalid_file, "tensors 'a' and 'b' overlap",
                 GgufBuilder().tensor("a", 0, {16}, data).tensor_info("b", 0, {1}, 32));
  expect_refused(ErrorCode::invalid_file, "overlap",
                 GgufBuilder().tensor("a", 0, {16}, data).tensor_info("b", 0, {1}, 0));
}

TEST(Gguf, TypedAccessNamesKeyAndValue) {
  const std::string bytes = small_model().build();
  const GgufFile file = parse(bytes);
  EXPECT_FALSE(file.find_u32("absent"));
  EXPECT_FALSE(file.find_f32("absent"));
  EXPECT_FALSE(file.find_bool("absent"));
  EXPECT_FALSE(file.find_string("absent"));
  EXPECT_FALSE(file.find_strings("absent"));
  EXPECT_FALSE(file.find_f32s("absent"));
  EXPECT_FALSE(file.find_ints("absent"));
  const auto invalid = ErrorCode::invalid_file;
  expect_error(invalid, "read test.gguf: metadata 'absent' is missing", [&] { file.get_u32("absent"); });
  expect_error(invalid, "metadata 'absent' is missing", [&] { file.get_strings("absent"); });
  expect_error(invalid, "metadata 'i8' is -3 (i8)", [&] { file.get_u32("i8"); });
  expect_error(invalid, "metadata 'u64' is 1099511627776 (u64)", [&] { file.get_u32("u64"); });
  expect_error(invalid, "metadata 'flag' is true (bool)", [&] { file.get_u32("flag"); });
  expect_error(invalid, "metadata 'llama.block_count' is 1 (u32)", [&] { file.get_f32("llama.block_count"); });
  expect_error(invalid, "'tokens' is an array of 3 string; expected a string", [&] { file.get_string("tokens"); });
  expect_error(invalid, "'types' is an array of 3 i32; expected an array of strings",
               [&] { file.get_strings("types"); });
  expect_error(invalid, "'tokens' is an array of 3 string", [&] { file.get_f32s("tokens"); });
  expect_error(invalid, "'scores' is an array of 2 f32", [&] { file.get_ints("scores"); });
  expect_error(invalid, "is the string 'llama'", [&] { file.get_bool("general.architecture"); });
}

TEST(Gguf, TruncationAtEveryByteIsRefused) {
  GgufBuilder builder;
  builder.string("general.architecture", "llama").strings("tokens", {"a", "bcd"}).numbers<float>("s", 6, {1, 2});
  builder.f32_tensor("w", {2, 3}, {1, 2, 3, 4, 5, 6}).tensor("q", 8, {1, 32}, std::string(34, 'q'));
  const std::string file = builder.build();
  ASSERT_NO_THROW(parse(file));
  for (size_t length = 0; length < file.size(); ++length) {
    // A copy of its own, so that the sanitizer sees a read past the end.
    const std::vector<char> cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(length));
    EXPECT_THROW(parse_gguf(std::as_bytes(std::span(cut)), "cut"), Error) << length;
  }
}

// --- real files ---------------------------------------------------------------------------------------------------

std::vector<std::filesystem::path> real_files() {
  std::vector<std::filesystem::path> files;
  const auto folder = shared_data("tokenizers");
  for (const char* name : {"ggml-vocab-llama-bpe.gguf", "ggml-vocab-llama-spm.gguf"}) {
    if (std::filesystem::exists(folder / name)) files.push_back(folder / name);
  }
  const char* model = std::getenv("MXQ_SMOLLM2_GGUF");
  if (model && std::filesystem::exists(model)) files.emplace_back(model);
  return files;
}

uint64_t fnv1a(std::string_view text, uint64_t state = 0xcbf29ce484222325u) {
  for (unsigned char c : text) state = (state ^ c) * 0x100000001b3u;
  return state;
}

std::string scalar_text(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string>) return fmt::format("{} {:016x}", v.size(), fnv1a(v));
        if constexpr (std::is_same_v<T, float>) return fmt::format("{:08x}", std::bit_cast<uint32_t>(v));
        if constexpr (std::is_integral_v<T>) return fmt::format("{}", static_cast<int64_t>(v));
        return "?";
      },
      value);
}

std::string entry_line(const std::string& key, const GgufValue& value) {
  const auto* array = std::get_if<GgufArray>(&value);
  if (!array) {
    return fmt::format("{} {} {}", key, gguf_type_name(static_cast<GgufType>(value.index())), scalar_text(value));
  }
  uint64_t state = fnv1a("");
  for (uint64_t i = 0; i < array->count; ++i) {
    GgufValue element;
    if (array->element == GgufType::string) element = std::string(array->strings[i]);
    uint32_t word = 0;
    if (array->element != GgufType::string) std::memcpy(&word, array->bytes.data() + 4 * i, 4);
    if (array->element == GgufType::i32) element = static_cast<int32_t>(word);
    if (array->element == GgufType::f32) element = std::bit_cast<float>(word);
    state = fnv1a(scalar_text(element) + "\n", state);
  }
  return fmt::format("{} array {} {} {:016x}", key, gguf_type_name(array->element), array->count, state);
}

std::string tensors_line(const GgufFile& file) {
  uint64_t state = fnv1a("");
  for (const auto& tensor : file.tensors) {
    const std::string_view bytes(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
    const size_t edge = std::min<size_t>(64, bytes.size());
    const uint64_t hash = fnv1a(bytes.substr(bytes.size() - edge), fnv1a(bytes.substr(0, edge)));
    state = fnv1a(
        fmt::format("{} {} [{}] {:016x}\n", tensor.name, dtype_name(tensor.dtype), fmt::join(tensor.shape, ", "), hash),
        state);
  }
  return fmt::format("tensors {} {:016x}", file.tensors.size(), state);
}

// The lines that tests/data/make_gguf_listing.py wrote for a file.
std::vector<std::string> reference_lines(const std::string& file_name) {
  std::ifstream listing(std::filesystem::path(MXQ_SOURCE_DIR) / "tests/data/gguf_listing.txt");
  std::vector<std::string> lines;
  bool here = false;
  for (std::string line; std::getline(listing, line);) {
    if (line.starts_with("file ")) {
      here = line == "file " + file_name;
    } else if (here) {
      lines.push_back(line);
    }
  }
  return lines;
}

TEST(Gguf, RealFilesAgreeWithTheGgufPackage) {
  const auto files = real_files();
  if (files.empty()) GTEST_SKIP() << "no real GGUF file: set MXQ_SHARED or MXQ_SMOLLM2_GGUF";
  for (const auto& path : files) {
    SCOPED_TRACE(path.filename());
    const MappedFile mapping(path);
    const GgufFile file = parse_gguf(mapping.bytes(), path.filename());
    std::vector<std::string> lines;
    for (const auto& [key, value] : file.metadata) lines.push_back(entry_line(key, value));
    lines.push_back(tensors_line(file));
    const auto expected = reference_lines(path.filename());
    ASSERT_FALSE(expected.empty());
    EXPECT_EQ(lines, expected);
  }
}

TEST(Gguf, TruncatedRealHeadersAreRefused) {
  const auto files = real_files();
  if (files.empty()) GTEST_SKIP() << "no real GGUF file: set MXQ_SHARED or MXQ_SMOLLM2_GGUF";
  // The smallest file's header at every KiB.
  const MappedFile mapping(*std::min_element(files.begin(), files.end(), [](const auto& a, const auto& b) {
    return std::filesystem::file_size(a) < std::filesystem::file_size(b);
  }));
  const size_t limit = std::min<size_t>(mapping.bytes().size(), 8 << 20);
  for (size_t length = 0; length < limit; length += 1024) {
    EXPECT_THROW(parse_gguf(mapping.bytes().first(length), "cut"), Error) << length;
  }
}

}  // namespace
}  // namespace mxq
