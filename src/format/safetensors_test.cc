#include "format/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "mxq/error.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

/// A file's bytes by the format's definition, independent of our writer.
std::string file_of(const std::string& header, const std::string& data = {}) {
  std::string file;
  for (size_t i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i));
  return file + header + data;
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "x.safetensors");
}

/// Parses an exact copy on the heap, so that a sanitizer sees each byte read beyond the end.
void expect_error(const std::string& file, ErrorCode code, const std::string& what) {
  const std::vector<char> exact(file.begin(), file.end());
  try {
    parse_safetensors(std::as_bytes(std::span(exact)), "x.safetensors");
    ADD_FAILURE() << "accepted; expected: " << what;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_THAT(e.what(), HasSubstr(what));
    EXPECT_EQ(e.operation(), "read x.safetensors");
  }
}
void expect_invalid(const std::string& file, const std::string& what) {
  expect_error(file, ErrorCode::invalid_file, what);
}
/// A header with one tensor "w" of the given parts and 8 bytes of data.
void expect_invalid_tensor(const std::string& parts, const std::string& what) {
  expect_invalid(file_of(R"({"w":{)" + parts + "}}", "12345678"), what);
}

TEST(Safetensors, ReadsTensorsMetadataScalarsAndEmptyTensors) {
  // Out of order in the header, an empty tensor where another begins, unaligned data, trailing spaces.
  const std::string file =
      file_of(R"({"b":{"dtype":"F32","shape":[],"data_offsets":[3,7]},"__metadata__":{"format":"pt","k":"ü"},)"
              R"("none":{"dtype":"F64","shape":[4,0],"data_offsets":[3,3]},)"
              R"("a\u00e4":{"data_offsets":[0,3],"shape":[3,1],"dtype":"U8"}}   )",
              "abcdefg");
  const SafetensorsHeader header = parse(file);
  ASSERT_EQ(header.tensors.size(), 3u);
  EXPECT_EQ(header.tensors[0].name, "aä");
  EXPECT_EQ(header.tensors[0].dtype, DType::u8);
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(3, 1));
  EXPECT_EQ(header.tensors[0].bytes.data(), std::as_bytes(std::span(file)).data() + file.size() - 7);
  EXPECT_EQ(header.tensors[0].bytes.size(), 3u);
  EXPECT_EQ(header.tensors[1].name, "none");
  EXPECT_THAT(header.tensors[1].shape, ElementsAre(4, 0));
  EXPECT_TRUE(header.tensors[1].bytes.empty());
  EXPECT_EQ(header.tensors[2].name, "b");
  EXPECT_TRUE(header.tensors[2].shape.empty());
  EXPECT_EQ(header.tensors[2].bytes.size(), 4u);
  EXPECT_THAT(header.metadata, ElementsAre(std::pair("format", "pt"), std::pair("k", "ü")));
}

TEST(Safetensors, ReadsEveryDType) {
  for (const auto& [name, size] : {std::pair("BOOL", 1),
                                   {"U8", 1},
                                   {"I8", 1},
                                   {"I16", 2},
                                   {"F16", 2},
                                   {"BF16", 2},
                                   {"I32", 4},
                                   {"F32", 4},
                                   {"I64", 8},
                                   {"F64", 8},
                                   {"F8_E4M3", 1},
                                   {"F8_E5M2", 1},
                                   {"F8_E8M0", 1},
                                   {"U16", 2},
                                   {"U32", 4},
                                   {"U64", 8},
                                   {"C64", 8},
                                   {"NEW_12", 5}}) {
    const std::string end = std::to_string(3 * size);
    const auto header =
        parse(file_of(std::string(R"({"w":{"dtype":")") + name + R"(","shape":[3],"data_offsets":[0,)" + end + "]}}",
                      std::string(static_cast<size_t>(3 * size), 'x')));
    EXPECT_EQ(dtype_name(header.tensors.at(0).dtype), name);
  }
}

TEST(Safetensors, SizesOfDTypesThatAreOnlyCopied) {
  const auto file = [](const std::string& dtype, int elements, int bytes) {
    return file_of(R"({"w":{"dtype":")" + dtype + R"(","shape":[)" + std::to_string(elements) +
                       R"(],"data_offsets":[0,)" + std::to_string(bytes) + "]}}",
                   std::string(static_cast<size_t>(bytes), 'x'));
  };
  EXPECT_EQ(parse(file("F4", 6, 3)).tensors.at(0).bytes.size(), 3u);
  EXPECT_EQ(parse(file("F6_E2M3", 4, 3)).tensors.at(0).bytes.size(), 3u);
  EXPECT_EQ(parse(file("F6_E3M2", 0, 0)).tensors.at(0).bytes.size(), 0u);
  expect_invalid(file("F4", 3, 2), "tensor 'w' of dtype F4 ends within a byte");
  expect_invalid(file("F8_E4M3", 3, 6), "should have the 3 bytes");
  expect_invalid(file("U16", 3, 3), "should have the 6 bytes");
  // A tensor of a dtype that nobody knows is as long as the file says.
  EXPECT_EQ(parse(file("I256", 3, 96)).tensors.at(0).bytes.size(), 96u);
  EXPECT_EQ(dtype_name(parse(file("I256", 3, 96)).tensors.at(0).dtype), "I256");
}

TEST(Safetensors, AcceptsWhatTheOfficialReaderDoes) {
  EXPECT_TRUE(parse(file_of("{}")).tensors.empty());
  EXPECT_TRUE(parse(file_of(R"({"__metadata__":null})")).metadata.empty());
  const auto header =
      parse(file_of(R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"note":{"deep":[1,{"x":null}]}}})", "ab"));
  EXPECT_EQ(header.tensors.at(0).bytes.size(), 2u);
}

// One error per cause.

TEST(Safetensors, TooShort) {
  expect_invalid("", "0 bytes are too few");
  expect_invalid("1234567", "7 bytes are too few");
}

TEST(Safetensors, HeaderLength) {
  expect_invalid(file_of("{}").substr(0, 9), "header of 2 bytes ends beyond the file's 9 bytes");
  expect_invalid(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "header length 18446744073709551615");
  expect_invalid(std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10), "header length 100000001; expected at most 100000000");
  expect_invalid(std::string("\x00\xe1\xf5\x05\0\0\0\0{}", 10), "header of 100000000 bytes ends beyond");
}

TEST(Safetensors, HeaderBegin) {
  expect_invalid(file_of(""), "does not begin with '{'");
  expect_invalid(file_of(" {}"), "does not begin with '{'");
  expect_invalid(file_of("\xef\xbb\xbf{}"), "does not begin with '{'");
  expect_invalid(file_of("[]"), "does not begin with '{'");
}

TEST(Safetensors, NotJson) {
  for (const std::string bad :
       {"{", "{]", "{}x", "{}{}", R"({"w":})", R"({"w":{"dtype":"F32)", R"({'w':1})", "{\"\xff\":1}",
        "{\"\xc0\xaf\":1}", R"({"\ud800":1})", "{/**/}", R"({"__metadata__":{},})", "{\"a\nb\":1}"}) {
    SCOPED_TRACE(bad);
    expect_invalid(file_of(bad), "not valid JSON");
  }
}

TEST(Safetensors, NulAfterTheHeaderIsNoEnd) {
  expect_invalid(file_of(std::string("{}\0junk", 7)), "not valid JSON (a NUL) at byte 2");
}

TEST(Safetensors, Nesting) {
  std::string bad = R"({"w":{"x":)" + std::string(100000, '[');
  expect_invalid(file_of(bad), "nested too deeply");
}

TEST(Safetensors, DuplicateNames) {
  const std::string w = R"("w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  expect_invalid(file_of("{" + w + "," + w + "}"), "key 'w' is there twice");
  expect_invalid(file_of(R"({"\u0077":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)" + w + "}"), "key 'w'");
  expect_invalid(file_of(R"({"__metadata__":{},"__metadata__":{}})"), "key '__metadata__'");
  expect_invalid(file_of(R"({"__metadata__":{"a":"1","a":"2"}})"), "key 'a'");
  expect_invalid_tensor(R"("dtype":"U8","dtype":"I8")", "key 'dtype'");
}

TEST(Safetensors, WrongTypes) {
  for (const std::string value : {"null", "true", "1", "-1", "1.5", "\"s\"", "[]"}) {
    SCOPED_TRACE(value);
    expect_invalid(file_of(R"({"w":)" + value + "}"), "tensor 'w': is no object");
    if (value != "null") expect_invalid(file_of(R"({"__metadata__":)" + value + "}"), "__metadata__ is no object");
  }
  for (const std::string value : {"null", "true", "1", "-1", "1.5", "{}", "[]"}) {
    SCOPED_TRACE(value);
    expect_invalid(file_of(R"({"__metadata__":{"k":)" + value + "}}"), "__metadata__ 'k' is not a string");
    expect_invalid_tensor(R"("dtype":)" + value, "tensor 'w': dtype is not a string");
  }
  for (const std::string value : {"null", "true", "1", "-1", "1.5", "{}", "\"s\""}) {
    SCOPED_TRACE(value);
    expect_invalid_tensor(R"("shape":)" + value, "tensor 'w': shape is no array");
    expect_invalid_tensor(R"("data_offsets":)" + value, "tensor 'w': data_offsets is no array");
  }
  for (const std::string value : {"null", "true", "-1", "-0", "1.5", "1.0", "1e2", "{}", "\"1\"", "[1]",
                                  "9223372036854775808", "18446744073709551616", "1e30"}) {
    SCOPED_TRACE(value);
    expect_invalid_tensor(R"("shape":[)" + value + "]", "shape holds something else than integers");
    expect_invalid_tensor(R"("data_offsets":[0,)" + value + "]", "data_offsets holds something else");
  }
}

TEST(Safetensors, MissingParts) {
  expect_invalid_tensor(R"("shape":[8],"data_offsets":[0,8])", "tensor 'w': has no dtype");
  expect_invalid_tensor(R"("dtype":"U8","data_offsets":[0,8])", "tensor 'w': has no shape");
  expect_invalid_tensor(R"("dtype":"U8","shape":[8])", "tensor 'w': has no data_offsets");
  expect_invalid_tensor(R"("dtype":"U8","shape":[8],"data_offsets":[8])", "has 1 data_offsets, not 2");
  expect_invalid_tensor(R"("dtype":"U8","shape":[8],"data_offsets":[0,4,8])", "has 3 data_offsets, not 2");
  // What one tensor has does not count for the next.
  expect_invalid(
      file_of(R"({"v":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1]}})", "a"),
      "tensor 'w': has no data_offsets");
}

TEST(Safetensors, UnknownDType) {
  for (const std::string& dtype : {std::string("F8-E4M3"), std::string("a b"), std::string(33, 'x'), std::string()}) {
    expect_error(file_of(R"({"w":{"dtype":")" + dtype + R"(","shape":[8],"data_offsets":[0,8]}})", "12345678"),
                 ErrorCode::unsupported,
                 "tensor 'w' has dtype '" + dtype + "'; expected at most 32 letters, digits and '_'");
  }
}

TEST(Safetensors, OverflowingShapes) {
  expect_invalid_tensor(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,8])", "shape overflows");
  expect_invalid_tensor(R"("dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,8])", "shape overflows");
  // Times zero or not: whoever multiplies from the left would overflow.
  expect_invalid_tensor(R"("dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0])", "shape overflows");
}

TEST(Safetensors, Offsets) {
  expect_invalid_tensor(R"("dtype":"U8","shape":[8],"data_offsets":[8,0])", "[8, 0] ends before it begins");
  expect_invalid_tensor(R"("dtype":"U8","shape":[9],"data_offsets":[0,9])", "[0, 9] ends beyond the 8 bytes");
  expect_invalid_tensor(R"("dtype":"U8","shape":[0],"data_offsets":[9223372036854775807,9223372036854775807])",
                        "ends beyond the 8 bytes");
  expect_invalid_tensor(R"("dtype":"U8","shape":[7],"data_offsets":[0,8])", "should have the 7 bytes");
  expect_invalid_tensor(R"("dtype":"F16","shape":[2,1],"data_offsets":[0,8])", "should have the 4 bytes");
}

TEST(Safetensors, OverlapsHolesAndTheRest) {
  const auto two = [](const std::string& a, const std::string& b) {
    return file_of(R"({"a":{"dtype":"U8",)" + a + R"(},"b":{"dtype":"U8",)" + b + "}}", "12345678");
  };
  const std::string half = R"("shape":[4],"data_offsets":[0,4])";
  expect_invalid(two(half, R"("shape":[5],"data_offsets":[3,8])"), "'b' at data_offsets [3, 8] overlaps");
  expect_invalid(two(half, half), "[0, 4] overlaps");
  expect_invalid(two(R"("shape":[8],"data_offsets":[0,8])", R"("shape":[0],"data_offsets":[3,3])"), "[3, 3] overlaps");
  expect_invalid(two(half, R"("shape":[3],"data_offsets":[5,8])"), "[5, 8] leaves a hole after byte 4");
  expect_invalid(two(half, R"("shape":[3],"data_offsets":[4,7])"), "1 bytes after the last tensor's");
  expect_invalid(file_of("{}", "1"), "1 bytes after the last tensor's");
  EXPECT_EQ(parse(two(half, R"("shape":[2,2],"data_offsets":[4,8])")).tensors.size(), 2u);
}

TEST(Safetensors, LongNamesAreCutInErrors) {
  expect_invalid(file_of("{\"" + std::string(100000, 'x') + "\":1}"), "xxx...': is no object");
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const std::string file = file_of(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}})",
      "abcdefg");
  ASSERT_EQ(parse(file).tensors.size(), 2u);
  for (size_t size = 0; size < file.size(); ++size) {
    const std::vector<char> exact(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THROW(parse_safetensors(std::as_bytes(std::span(exact)), "x"), Error) << size;
  }
}

TEST(Safetensors, TruncationAtEveryKibibyteOfALargeHeader) {
  std::string header = "{", data;
  for (int i = 0; i < 2000; ++i) {
    const std::string begin = std::to_string(4 * i), end = std::to_string(4 * i + 4);
    header += (i ? ",\"t" : "\"t") + std::to_string(i) + R"(":{"dtype":"F32","shape":[1],"data_offsets":[)" + begin +
              "," + end + "]}";
    data += "data";
  }
  const std::string file = file_of(header + "}", data);
  ASSERT_EQ(parse(file).tensors.size(), 2000u);
  for (size_t size = 0; size < file.size(); size += 1024) {
    const std::vector<char> exact(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THROW(parse_safetensors(std::as_bytes(std::span(exact)), "x"), Error) << size;
    // The same with a length that fits what is left, so that the JSON itself is cut.
    if (size > 8 && size < header.size()) {
      expect_invalid(file_of(header.substr(0, size - 8)), "not valid JSON");
    }
  }
}

TEST(ShardIndex, Reads) {
  EXPECT_THAT(
      parse_shard_index(R"({"metadata":{"total_size":1e3},"weight_map":{"a":"x.safetensors","b":"y"},"z":[1]})", "i"),
      ElementsAre(std::pair("a", "x.safetensors"), std::pair("b", "y")));
  EXPECT_THAT(parse_shard_index(R"({"weight_map":{"a":"sub/x.safetensors"}})", "i"),
              ElementsAre(std::pair("a", "sub/x.safetensors")));
}

TEST(ShardIndex, Errors) {
  const auto expect = [](const std::string& json, const std::string& what) {
    SCOPED_TRACE(json);
    try {
      parse_shard_index(json, "i.json");
      ADD_FAILURE() << "accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_file);
      EXPECT_THAT(e.what(), HasSubstr("read i.json: " + what));
    }
  };
  expect("", "not valid JSON");
  expect("\xef\xbb\xbf{}", "not valid JSON");
  expect("weight_map", "not valid JSON");
  expect("[]", "the index is no object");
  expect("{}", "no weight_map");
  expect(R"({"weight_map":{}})", "weight_map names no tensors");
  expect(R"({"weight_map":[]})", "weight_map is no object");
  expect(R"({"weight_map":{"a":1}})", "weight_map: 'a' is not a string");
  expect(R"({"weight_map":{"a":{"b":"c"}}})", "weight_map: 'a' is not a string");
  expect(R"({"weight_map":{"a":"x","a":"y"}})", "key 'a' is there twice");
  expect(R"({"weight_map":{"a":"x"},"weight_map":{"b":"x"}})", "key 'weight_map' is there twice");
  expect(R"({"metadata":)" + std::string(1000, '['), "JSON is nested too deeply");
  for (const std::string bad :
       {"", ".", "..", "../x", "a/../b", "a//b", "a/", "a/./b", "/etc/passwd", "a\\\\b", "a\\u0000b"}) {
    expect(R"({"weight_map":{"a":")" + bad + "\"}}", "weight_map: 'a' is in '");
  }
}

class Folder : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& bytes) { std::ofstream(folder_ / name) << bytes; }
  /// A file with one-byte tensors of these names.
  void put_tensors(const std::string& file, const std::string& names) {
    std::string header;
    for (size_t i = 0; i < names.size(); ++i) {
      header += (i ? ",\"" : "{\"") + std::string(1, names[i]) + R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" +
                std::to_string(i) + "," + std::to_string(i + 1) + "]}";
    }
    put(file, file_of(header + "}", names));
  }
  void put_index(const std::string& map) { put("model.safetensors.index.json", R"({"weight_map":{)" + map + "}}"); }
  void expect(ErrorCode code, const std::string& what) {
    try {
      open_safetensors(folder_);
      ADD_FAILURE() << "accepted; expected: " << what;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      EXPECT_THAT(e.what(), HasSubstr(what));
    }
  }

  const TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST_F(Folder, OpensAFileAndAFolder) {
  put_tensors("model.safetensors", "ab");
  for (const fs::path& path : {folder_, folder_ / "model.safetensors"}) {
    TensorStore opened = open_safetensors(path);
    const TensorStore store = std::move(opened);
    ASSERT_NE(store.find("b"), nullptr);
    EXPECT_EQ(std::to_integer<char>(store.find("b")->bytes[0]), 'b');
    EXPECT_EQ(store.find("c"), nullptr);
    EXPECT_EQ(store.tensors().size(), 2u);
    EXPECT_EQ(store.files().size(), 1u);
  }
}

TEST_F(Folder, OpensShardsByTheIndex) {
  put_tensors("one.safetensors", "ab");
  put_tensors("two.safetensors", "c");
  put_index(R"("a":"one.safetensors","c":"two.safetensors","b":"one.safetensors")");
  const TensorStore store = open_safetensors(folder_);
  ASSERT_EQ(store.tensors().size(), 3u);
  EXPECT_EQ(std::to_integer<char>(store.find("c")->bytes[0]), 'c');
  EXPECT_EQ(store.files().size(), 2u);
}

TEST_F(Folder, AFileBesideAnIndexIsTheModel) {
  put_index(R"("a":"one.safetensors")");  // as transformers does it; the index may be as stale as it likes
  put_tensors("model.safetensors", "xyz");
  const StoredModel model = open_safetensors_model(folder_);
  EXPECT_EQ(model.store.tensors().size(), 3u);
  EXPECT_THAT(model.notes, ElementsAre(HasSubstr("the index and its shards are not read")));
}

TEST_F(Folder, NothingThere) {
  expect(ErrorCode::not_found, "no safetensors model in this folder");
  EXPECT_THROW(open_safetensors(folder_ / "none"), Error);
}

TEST_F(Folder, MissingShard) {
  put_tensors("one", "a");
  put_index(R"("a":"one","b":"two")");
  expect(ErrorCode::not_found, "shard 'two' is not there");
}

TEST_F(Folder, ANameThatTheSystemRefusesIsAnErrorOfOurs) {
  put_index(R"("a":")" + std::string(5000, 'x') + "\"");
  expect(ErrorCode::io, "File name too long");
  EXPECT_THROW(open_safetensors(folder_ / std::string(5000, 'x')), Error);
}

TEST_F(Folder, OffsetsBeyond4GiB) {
  const std::string header = R"({"large":{"dtype":"U8","shape":[5000000000],"data_offsets":[0,5000000000]},)"
                             R"("last":{"dtype":"F32","shape":[1],"data_offsets":[5000000000,5000000004]}})";
  const fs::path path = folder_ / "model.safetensors";
  put("model.safetensors", file_of(header));
  std::error_code error;
  fs::resize_file(path, 8 + header.size() + 5'000'000'000, error);  // sparse
  if (error) GTEST_SKIP() << "no room for a sparse file: " << error.message();
  std::ofstream(path, std::ios::app) << "abcd";
  const TensorStore store = open_safetensors(path);
  EXPECT_EQ(store.find("large")->bytes.size(), 5'000'000'000u);
  EXPECT_EQ(std::to_integer<char>(store.find("last")->bytes[3]), 'd');
}

TEST_F(Folder, IndexNamesWhatTheShardLacks) {
  put_tensors("one", "a");
  put_index(R"("a":"one","b":"one")");
  expect(ErrorCode::invalid_file, "shard 'one' lacks tensor 'b'");
}

TEST_F(Folder, ShardHasWhatTheIndexDoesNotName) {
  put_tensors("one", "ab");
  put_index(R"("a":"one")");
  const StoredModel model = open_safetensors_model(folder_);
  EXPECT_EQ(model.store.tensors().size(), 2u);
  EXPECT_THAT(model.notes, ElementsAre(HasSubstr("lacks tensor 'b'")));
}

TEST_F(Folder, ShardHasWhatTheIndexPutsElsewhere) {
  put_tensors("one", "ab");
  put_tensors("two", "c");
  put_index(R"("a":"one","b":"two","c":"two")");
  const StoredModel model = open_safetensors_model(folder_);
  EXPECT_EQ(model.store.tensors().size(), 3u);
  EXPECT_TRUE(model.absent.empty());
  EXPECT_THAT(model.notes, ElementsAre(HasSubstr("puts tensor 'b' into another shard")));
}

TEST_F(Folder, ATensorInTwoShards) {
  put_tensors("one", "ab");
  put_tensors("two", "b");
  put_index(R"("a":"one","b":"two")");
  const StoredModel model = open_safetensors_model(folder_);
  EXPECT_EQ(model.store.tensors().size(), 2u);
  EXPECT_THAT(model.notes, ElementsAre(HasSubstr("two shards hold tensor 'b'")));
  put("two", file_of(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  expect(ErrorCode::invalid_file, "tensor 'b' has other values in shard 'two'");
}

TEST_F(Folder, WhatIsAbsentIsKnownByName) {
  put_tensors("one", "a");
  put_index(R"("a":"one","b":"one","c":"two")");
  const StoredModel model = open_safetensors_model(folder_);
  EXPECT_EQ(model.absent.size(), 2u);
  EXPECT_FALSE(model.absent.at("b").shard_is_missing);
  EXPECT_TRUE(model.absent.at("c").shard_is_missing);
}

TEST_F(Folder, IndexReachesOutOfTheFolder) {
  put_tensors("one", "a");
  put_index(R"("a":"../one")");
  expect(ErrorCode::invalid_file, "weight_map: 'a' is in '../one'");
}

TEST_F(Folder, ABrokenShardIsNamed) {
  put("one", "nonsense nonsense");
  put_index(R"("a":"one")");
  expect(ErrorCode::invalid_file, (folder_ / "one").string());
}

TEST(TensorStore, RejectsNamesOfOtherFilesAndStaysAsItWas) {
  TensorStore store;
  store.add(nullptr, {{"a", DType::u8, {0}, {}}});
  EXPECT_THROW(store.add(nullptr, {{"b", DType::u8, {0}, {}}, {"a", DType::u8, {0}, {}}}), Error);
  EXPECT_THROW(store.add(nullptr, {{"c", DType::u8, {0}, {}}, {"c", DType::u8, {0}, {}}}), Error);
  EXPECT_EQ(store.tensors().size(), 1u);
  EXPECT_EQ(store.find("b"), nullptr);
  for (int i = 0; i < 100; ++i) store.add(nullptr, {{"t" + std::to_string(i), DType::u8, {i, 0}, {}}});
  EXPECT_THAT(store.find("t57")->shape, ElementsAre(57, 0));
  store.remove("t3");
  store.remove("none");
  EXPECT_EQ(store.tensors().size(), 100u);
  EXPECT_EQ(store.find("t3"), nullptr);
  EXPECT_THAT(store.find("t57")->shape, ElementsAre(57, 0));
  EXPECT_THAT(store.find("a")->shape, ElementsAre(0));
}

}  // namespace
}  // namespace mxq
