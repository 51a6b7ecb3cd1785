#include "format/gguf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>

#include "expect_error.h"
#include "gguf_builder.h"
#include "mxq/files.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// One of every type.
std::vector<GgufEntry> all_kinds() {
  return {{"general.architecture", std::string("llama")},
          {"u8", uint8_t{200}},
          {"i8", int8_t{-3}},
          {"u16", uint16_t{60000}},
          {"i16", int16_t{-300}},
          {"u32", uint32_t{4'000'000'000}},
          {"i32", int32_t{-70000}},
          {"f32", 0.5F},
          {"yes", true},
          {"no", false},
          {"text", std::string("a\0b", 3)},
          {"u64", uint64_t{1} << 40},
          {"i64", int64_t{-7}},
          {"f64", 0.25},
          {"u8s", std::vector<uint8_t>{1, 255}},
          {"i8s", std::vector<int8_t>{-1, 1}},
          {"u16s", std::vector<uint16_t>{1, 65535}},
          {"i16s", std::vector<int16_t>{-1, 1}},
          {"u32s", std::vector<uint32_t>{}},
          {"i32s", std::vector<int32_t>{-1, 1, 5}},
          {"f32s", std::vector<float>{1.5F, -2}},
          {"flags", std::vector<bool>{true, false, true}},
          {"texts", std::vector<std::string>{"a", "", "bcd"}},
          {"u64s", std::vector<uint64_t>{1}},
          {"i64s", std::vector<int64_t>{-1}},
          {"f64s", std::vector<double>{0.1, 0.2}}};
}

TEST(GgufHeader, IsTheFormatsToTheByte) {
  // By the builder of the reader's tests, which follows the format's description.
  GgufBuilder builder;
  builder.string("general.architecture", "llama").u32("n", 3).boolean("b", true).strings("t", {"x", "yz"});
  builder.numbers<float>("s", 6, {1, 2}).numbers<uint8_t>("f", 7, {0, 1});
  builder.f32_tensor("w", {2, 3}, {1, 2, 3, 4, 5, 6}).tensor("q", 3, {2, 32}, std::string(40, 'q'));
  const std::vector<GgufEntry> entries{{"general.architecture", std::string("llama")},
                                       {"n", uint32_t{3}},
                                       {"b", true},
                                       {"t", std::vector<std::string>{"x", "yz"}},
                                       {"s", std::vector<float>{1, 2}},
                                       {"f", std::vector<bool>{false, true}}};
  const std::string header = gguf_header(entries, {{"w", DType::f32, {2, 3}}, {"q", DType::q4_1, {2, 32}}});
  EXPECT_EQ(header, builder.build().substr(0, builder.header_size()));
  EXPECT_EQ(header.size() % kGgufAlignment, 0U);
}

TEST(GgufHeader, EveryKindOfValueIsReadBackInTheSameOrder) {
  const std::string header = gguf_header(all_kinds(), {});
  const GgufFile file = parse_gguf(bytes_of(header), "test.gguf");
  std::vector<GgufEntry> copies;
  for (const std::string& key : file.keys) copies.push_back(gguf_entry(key, *file.find(key)));
  EXPECT_EQ(copies, all_kinds());
  for (size_t i = 0; i < copies.size(); ++i) {
    EXPECT_EQ(copies[i].value.index(), all_kinds()[i].value.index()) << copies[i].key;
  }
  EXPECT_EQ(gguf_header(copies, {}), header);
}

TEST(GgufHeader, EveryDtypeOfGgufHasItsNumber) {
  for (int i = 0; i <= static_cast<int>(DType::mxfp4); ++i) {
    const auto dtype = static_cast<DType>(i);
    if (dtype == DType::u8 || dtype == DType::boolean) {
      EXPECT_FALSE(gguf_tensor_type(dtype));
      continue;
    }
    const std::vector<GgufTensorSpec> tensors{{"w", dtype, {2, 256}}};
    std::string bytes = gguf_header({}, tensors);
    bytes.resize(static_cast<size_t>(gguf_file_bytes({}, tensors)));
    const GgufFile file = parse_gguf(bytes_of(bytes), "test.gguf");
    EXPECT_EQ(file.tensors.at(0).dtype, dtype) << dtype_name(dtype);
    EXPECT_EQ(file.tensors.at(0).bytes.size(), static_cast<size_t>(tensors[0].bytes()));
  }
}

TEST(GgufHeader, Errors) {
  const auto header = [](std::vector<GgufEntry> entries, std::vector<GgufTensorSpec> tensors) {
    return [=] { gguf_header(entries, tensors); };
  };
  expect_error(ErrorCode::usage, "metadata key 'k'", header({{"k", true}, {"k", false}}, {}));
  expect_error(ErrorCode::usage, "metadata key ''", header({{"", true}}, {}));
  expect_error(ErrorCode::unsupported, "key of 65536 bytes", header({{std::string(65536, 'k'), true}}, {}));
  expect_error(ErrorCode::usage, "general.alignment", header({{"general.alignment", uint32_t{64}}}, {}));
  expect_error(ErrorCode::usage, "general.alignment", header({{"general.alignment", uint64_t{32}}}, {}));
  EXPECT_NO_THROW(header({{"general.alignment", uint32_t{32}}}, {})());
  expect_error(ErrorCode::usage, "tensor name 'w'", header({}, {{"w", DType::f32, {1}}, {"w", DType::f16, {1}}}));
  expect_error(ErrorCode::usage, "tensor name ''", header({}, {{"", DType::f32, {1}}}));
  expect_error(ErrorCode::unsupported, "at most 63 bytes", header({}, {{std::string(64, 'w'), DType::f32, {1}}}));
  expect_error(ErrorCode::unsupported, "5 dimensions", header({}, {{"w", DType::f32, {1, 1, 1, 1, 1}}}));
  expect_error(ErrorCode::unsupported, "has dtype U8", header({}, {{"w", DType::u8, {1}}}));
  expect_error(ErrorCode::usage, "shape [1, -1]", header({}, {{"w", DType::f32, {1, -1}}}));
  expect_error(ErrorCode::usage, "tensor 'w' is Q4_K with rows of 128 elements; expected a multiple of 256",
               header({}, {{"w", DType::q4_k, {4, 128}}}));
  expect_error(ErrorCode::usage, "2^63", header({}, {{"w", DType::f64, {INT64_MAX / 2}}}));
  expect_error(ErrorCode::usage, "overflow", header({}, {{"v", DType::i8, {INT64_MAX}}, {"w", DType::i8, {1}}}));
}

TEST(GgufWriter, WhatIsWrittenIsReadWhateverTheChunks) {
  const TemporaryFolder folder;
  const unsigned seed = 11;
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937 random(seed);
  const std::vector<GgufTensorSpec> tensors{{"none", DType::f32, {0, 3}},      {"odd", DType::i8, {5}},
                                            {"blocks", DType::q6_k, {3, 512}}, {"nothing", DType::f16, {2, 0}},
                                            {"whole", DType::f32, {2, 4}},     {"scalar", DType::i64, {}},
                                            {"last", DType::f16, {3, 2, 1}},   {"end", DType::f32, {0}}};
  std::string data;
  int64_t total = 0;
  for (const GgufTensorSpec& tensor : tensors) total += tensor.bytes();
  for (int64_t i = 0; i < total; ++i) data += static_cast<char>(random());
  for (const size_t chunk : {1U, 7U, 32U, 100U, 1U << 20}) {
    const fs::path path = folder / (std::to_string(chunk) + ".gguf");
    GgufWriter writer(path, all_kinds(), tensors);
    for (size_t at = 0; at < data.size(); at += chunk) writer.write(bytes_of(data.substr(at, chunk)));
    EXPECT_FALSE(fs::exists(path));
    writer.commit();
    const std::string file = read_file(path);
    EXPECT_EQ(static_cast<int64_t>(file.size()), gguf_file_bytes(all_kinds(), tensors));
    const GgufFile parsed = parse_gguf(bytes_of(file), "test.gguf");
    ASSERT_EQ(parsed.tensors.size(), tensors.size());
    std::string read;
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ(parsed.tensors[i].name, tensors[i].name);
      EXPECT_EQ(parsed.tensors[i].shape, tensors[i].shape);
      const auto bytes = parsed.tensors[i].bytes;
      read.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    EXPECT_EQ(read, data);
  }
}

TEST(GgufWriter, MissingAndSurplusBytesAreRefusedAndLeaveNothing) {
  const TemporaryFolder folder;
  const fs::path path = folder / "m.gguf";
  const std::vector<GgufTensorSpec> tensors{{"a", DType::i8, {5}}, {"b", DType::f32, {2}}};
  {
    GgufWriter writer(path, {}, tensors);
    expect_error(ErrorCode::usage, "tensor 'a' lacks 5 bytes", [&] { writer.commit(); });
    writer.write(bytes_of(std::string(7, 'x')));
    expect_error(ErrorCode::usage, "tensor 'b' lacks 6 bytes", [&] { writer.commit(); });
    expect_error(ErrorCode::usage, "1 bytes more than the tensors' 13",
                 [&] { writer.write(bytes_of(std::string(7, 'x'))); });
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
  GgufWriter writer(path, {}, {});
  writer.commit();
  EXPECT_EQ(static_cast<int64_t>(fs::file_size(path)), gguf_file_bytes({}, {}));
  expect_error(ErrorCode::usage, "is Q8_0 with rows of 31 elements", [&] {
    GgufWriter(folder / "n.gguf", {}, {{"w", DType::q8_0, {31}}});
  });
  EXPECT_FALSE(fs::exists(folder / "n.gguf"));
}

}  // namespace
}  // namespace mxq
