#include "format/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>

#include "base/atomic_file.h"
#include "format/safetensors.h"
#include "mxq/error.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

template <typename Function>
void expect_error(ErrorCode code, const std::string& what, Function function) {
  try {
    function();
    ADD_FAILURE() << "accepted; expected: " << what;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_THAT(e.what(), HasSubstr(what));
  }
}

class Writer : public testing::Test {
 protected:
  const TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST(SafetensorsHeader, IsTheFormatsToTheByte) {
  // Written by hand from the format's description: 8 bytes of length, JSON, spaces to a multiple of 8.
  EXPECT_EQ(safetensors_header({{"w", DType::bf16, {2, 3}}, {"s", DType::f32, {}}}, {{"format", "pt"}}),
            std::string("\x90\0\0\0\0\0\0\0", 8) +
                R"({"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
                R"("s":{"dtype":"F32","shape":[],"data_offsets":[12,16]}} )");
  EXPECT_EQ(safetensors_header({}, {}), std::string("\x08\0\0\0\0\0\0\0{}      ", 16));
}

TEST(SafetensorsHeader, Errors) {
  const auto header = [](std::vector<TensorSpec> tensors, SafetensorsMetadata metadata = {}) {
    return [=] { safetensors_header(tensors, metadata); };
  };
  expect_error(ErrorCode::usage, "tensor name 'w'", header({{"w", DType::u8, {1}}, {"w", DType::i8, {1}}}));
  expect_error(ErrorCode::usage, "tensor name '__metadata__'", header({{"__metadata__", DType::u8, {1}}}));
  expect_error(ErrorCode::usage, "shape [1, -1]", header({{"w", DType::u8, {1, -1}}}));
  expect_error(ErrorCode::usage, "overflow", header({{"v", DType::u8, {INT64_MAX}}, {"w", DType::u8, {INT64_MAX}}}));
  expect_error(ErrorCode::unsupported, "has dtype Q4_0", header({{"w", DType::q4_0, {32}}}));
  expect_error(ErrorCode::unsupported, "not UTF-8", header({{"\xff", DType::u8, {1}}}));
  expect_error(ErrorCode::unsupported, "not UTF-8", header({}, {{"k", "\xc3"}}));
  expect_error(ErrorCode::unsupported, "at most 100000000", header({}, {{"k", std::string(100'000'000, 'x')}}));
}

TEST_F(Writer, WhatIsWrittenIsReadWhateverTheChunks) {
  const unsigned seed = 7;
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937 random(seed);
  const std::vector<TensorSpec> specs{{"odd", DType::u8, {5}},
                                      {"none", DType::f32, {0, 3}},
                                      {"quote\"\\\n\tü", DType::f16, {3, 1}},
                                      {"scalar", DType::i64, {}},
                                      {"last", DType::f64, {2}}};
  std::string data(5 + 6 + 8 + 16, ' ');
  for (char& c : data) c = static_cast<char>(random());
  const SafetensorsMetadata metadata{{"a", "1"}, {"\"b\"", "line\nline"}};
  for (size_t chunk : {1u, 3u, 8u, 100u}) {
    const fs::path path = folder_ / std::to_string(chunk);
    SafetensorsWriter writer(path, specs, metadata);
    for (size_t i = 0; i < data.size(); i += chunk) writer.write(bytes_of(data.substr(i, chunk)));
    EXPECT_FALSE(fs::exists(path));
    writer.commit();

    const std::string file = read_file(path);
    EXPECT_EQ(static_cast<int64_t>(file.size()), safetensors_file_bytes(specs, metadata));
    EXPECT_EQ((file.size() - data.size()) % 8, 0u);
    const SafetensorsHeader header = parse_safetensors(bytes_of(file), "x");
    EXPECT_EQ(header.metadata, metadata);
    ASSERT_EQ(header.tensors.size(), specs.size());
    std::string read;
    for (const TensorView& tensor : header.tensors) {
      read.append(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
    }
    EXPECT_EQ(read, data);
    for (const TensorSpec& spec : specs) {
      const auto found = std::ranges::find(header.tensors, spec.name, &TensorView::name);
      ASSERT_NE(found, header.tensors.end()) << spec.name;
      EXPECT_EQ(found->dtype, spec.dtype);
      EXPECT_EQ(found->shape, spec.shape);
    }
  }
}

TEST_F(Writer, TooManyOrTooFewBytes) {
  SafetensorsWriter writer(folder_ / "x", {{"a", DType::u8, {2}}, {"b", DType::u8, {4}}});
  writer.write(bytes_of("123"));
  expect_error(ErrorCode::usage, "tensor 'b' lacks 3 bytes", [&] { writer.commit(); });
  expect_error(ErrorCode::usage, "1 bytes more than the tensors' 6", [&] { writer.write(bytes_of("4567")); });
  EXPECT_FALSE(fs::exists(folder_ / "x"));
  writer.write(bytes_of("456"));
  writer.commit();
  EXPECT_EQ(open_safetensors(folder_ / "x").tensors().size(), 2u);
}

TEST_F(Writer, AnAbandonedFileLeavesNothing) {
  { SafetensorsWriter(folder_ / "x", {{"a", DType::u8, {2}}}).write(bytes_of("1")); }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST(Shards, FillInOrderAndKeepGroupsTogether) {
  const std::vector<TensorSpec> specs{{"a.codes", DType::u8, {6}},  {"a.scales", DType::u8, {2}},
                                      {"b", DType::u8, {3}},        {"large", DType::u8, {100}},
                                      {"c.codes", DType::u8, {6}},  {"c.scales", DType::u8, {2}},
                                      {"d.codes", DType::u8, {12}}, {"d.scales", DType::u8, {1}}};
  const auto layout_of = [&](int64_t max, auto group) {
    std::vector<std::vector<std::string>> names;
    int64_t bytes = 0;
    const ShardLayout layout = plan_shards(specs, max, group);
    for (const Shard& shard : layout.shards) {
      names.emplace_back();
      int64_t sum = 0;
      for (const TensorSpec& tensor : shard.tensors) {
        names.back().push_back(tensor.name);
        sum += tensor.bytes();
      }
      EXPECT_EQ(shard.bytes, sum);
      bytes += sum;
    }
    EXPECT_EQ(layout.bytes, bytes);
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_THAT(layout_of(10, nullptr), ElementsAre(Names{"a.codes", "a.scales"}, Names{"b"}, Names{"large"},
                                                  Names{"c.codes", "c.scales"}, Names{"d.codes"}, Names{"d.scales"}));
  const auto stem = [](const TensorSpec& t) {
    return t.name.find('.') == std::string::npos ? std::string() : t.name.substr(0, t.name.find('.'));
  };
  EXPECT_THAT(layout_of(7, stem), ElementsAre(Names{"a.codes", "a.scales"}, Names{"b"}, Names{"large"},
                                              Names{"c.codes", "c.scales"}, Names{"d.codes", "d.scales"}));
  EXPECT_THAT(layout_of(kMaxShardBytes, stem).size(), 1u);
  EXPECT_EQ(plan_shards(specs, 10).shards[1].file, "model-00002-of-00006.safetensors");
  EXPECT_EQ(plan_shards(specs).shards[0].file, "model.safetensors");
  EXPECT_EQ(plan_shards({}).shards.size(), 1u);
  expect_error(ErrorCode::usage, "shards of 0 bytes; expected 1 or more", [&] { plan_shards(specs, 0); });
}

TEST(Shards, IndexIsHuggingFaces) {
  // As json.dumps(index, indent=2, sort_keys=True) + "\n" of huggingface_hub prints it.
  EXPECT_EQ(shard_index_json(plan_shards({{"b", DType::f32, {2}}, {"a\"", DType::f32, {1}}}, 8)), R"({
  "metadata": {
    "total_size": 12
  },
  "weight_map": {
    "a\"": "model-00002-of-00002.safetensors",
    "b": "model-00001-of-00002.safetensors"
  }
}
)");
}

TEST_F(Writer, ShardsAreReadBackAndFinishedOnesAreKnown) {
  const std::vector<TensorSpec> specs{{"a", DType::u8, {4}}, {"b", DType::u8, {4}}, {"c", DType::u8, {2}}};
  const ShardLayout layout = plan_shards(specs, 6);
  ASSERT_EQ(layout.shards.size(), 2u);
  for (const Shard& shard : layout.shards) {
    EXPECT_FALSE(is_finished_shard(folder_ / shard.file, shard.tensors));
    SafetensorsWriter writer(folder_ / shard.file, shard.tensors);
    writer.write(bytes_of(std::string(static_cast<size_t>(shard.bytes), 'x')));
    EXPECT_FALSE(is_finished_shard(folder_ / shard.file, shard.tensors));
    writer.commit();
    EXPECT_TRUE(is_finished_shard(folder_ / shard.file, shard.tensors));
  }
  write_file(folder_ / "model.safetensors.index.json", shard_index_json(layout));
  const TensorStore store = open_safetensors(folder_);
  EXPECT_EQ(store.tensors().size(), 3u);
  EXPECT_EQ(store.files().size(), 2u);

  const fs::path first = folder_ / layout.shards[0].file;
  EXPECT_FALSE(is_finished_shard(first, layout.shards[1].tensors));
  EXPECT_FALSE(is_finished_shard(first, layout.shards[0].tensors, {{"other", "metadata"}}));
  EXPECT_FALSE(is_finished_shard(folder_, layout.shards[0].tensors));
  fs::resize_file(first, fs::file_size(first) - 1);
  EXPECT_FALSE(is_finished_shard(first, layout.shards[0].tensors));
}

}  // namespace
}  // namespace mxq
