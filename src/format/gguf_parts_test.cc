#include "format/gguf_parts.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "expect_error.h"
#include "gguf_builder.h"
#include "mxq/error.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

using ::testing::HasSubstr;

GgufBuilder part(uint16_t number, uint16_t count, int32_t tensors) {
  GgufBuilder builder;
  builder.raw("split.no", 2, GgufBytes().number<uint16_t>(number)).raw("split.count", 2, GgufBytes().number(count));
  builder.raw("split.tensors.count", 5, GgufBytes().number(tensors));
  return builder;
}

/// A model of four tensors in three files, as the gguf package splits them; each part can be replaced.
struct ThreeParts {
  TemporaryFolder folder;
  GgufBuilder first = part(0, 3, 4), second = part(1, 3, 4), third = part(2, 3, 4);

  ThreeParts() {
    first.string("general.architecture", "llama").strings("tokens", {"a", "b"}).f32_tensor("a", {2}, {1, 2});
    second.f32_tensor("b", {1}, {3}).f32_tensor("c", {1}, {4});
    third.u32("general.alignment", 64).alignment = 64;
    third.f32_tensor("d", {1}, {5});
  }
  std::filesystem::path path(int number, int count = 3) const {
    return folder / fmt::format("model-{:05}-of-{:05}.gguf", number, count);
  }
  void write() const {
    first.write(path(1));
    second.write(path(2));
    third.write(path(3));
  }
  void expect_refused(ErrorCode code, const std::string& message, int open = 1) const {
    expect_error(code, message, [&] { open_gguf(MappedFile(path(open))); });
  }
};

TEST(GgufParts, AreOneModel) {
  ThreeParts parts;
  parts.write();
  const MappedGguf opened = open_gguf(MappedFile(parts.path(1)));
  ASSERT_EQ(opened.files.size(), 3u);
  EXPECT_EQ(opened.files[2].path(), parts.path(3));
  EXPECT_EQ(opened.model.source, parts.path(1).string());
  EXPECT_EQ(opened.model.get_string("general.architecture"), "llama");
  std::string found;
  for (const TensorView& tensor : opened.model.tensors) {
    float value = 0;
    std::memcpy(&value, tensor.bytes.data(), sizeof(value));
    found += fmt::format("{} {} ", tensor.name, value);
  }
  EXPECT_EQ(found, "a 1 b 3 c 4 d 5 ");
}

TEST(GgufParts, AWholeFileIsItsOnlyPart) {
  const TemporaryFolder folder;
  for (const uint16_t count : {uint16_t{0}, uint16_t{1}}) {  // 0 is what llama-gguf-split --merge writes
    part(0, count, 7).f32_tensor("a", {1}, {1}).write(folder / "m.gguf");
    const MappedGguf opened = open_gguf(MappedFile(folder / "m.gguf"));
    EXPECT_EQ(opened.files.size(), 1u);
    EXPECT_EQ(opened.model.tensors.size(), 1u);
  }
}

TEST(GgufParts, LaterAndRenamedPartsAreRefused) {
  ThreeParts parts;
  parts.write();
  for (const int later : {2, 3}) {
    parts.expect_refused(ErrorCode::unsupported,
                         fmt::format("open {}: part {} of 3 of a model in GGUF; expected the first part, {}",
                                     parts.path(later).string(), later, parts.path(1).string()),
                         later);
  }
  std::filesystem::copy_file(parts.path(1), parts.folder / "renamed.gguf");
  expect_error(ErrorCode::invalid_file,
               "renamed.gguf: by its metadata the file is part 1 of 3 of a model; expected a name that ends in "
               "'-00001-of-00003.gguf'",
               [&] { open_gguf(MappedFile(parts.folder / "renamed.gguf")); });
  std::filesystem::rename(parts.path(1), parts.path(1, 4));
  expect_error(ErrorCode::invalid_file, "ends in '-00001-of-00003.gguf'",
               [&] { open_gguf(MappedFile(parts.path(1, 4))); });
}

TEST(GgufParts, MissingPartsAreNamed) {
  ThreeParts parts;
  parts.write();
  std::filesystem::remove(parts.path(2));
  parts.expect_refused(ErrorCode::not_found, "part 2 of 3 is missing: " + parts.path(2).string());
  std::filesystem::create_directory(parts.path(2));
  parts.expect_refused(ErrorCode::not_found, "part 2 of 3 is missing");
}

TEST(GgufParts, PartsThatDoNotBelongTogetherAreRefused) {
  const auto refused = [](const std::string& message, const std::function<void(ThreeParts&)>& change) {
    ThreeParts parts;
    change(parts);
    parts.write();
    parts.expect_refused(ErrorCode::invalid_file, message);
  };
  refused("model-00002-of-00003.gguf: by its metadata the file is part 3 of 3; expected part 2 of 3",
          [](ThreeParts& parts) { std::swap(parts.second, parts.third); });
  refused("model-00003-of-00003.gguf: by its metadata the file is part 3 of 4; expected part 3 of 3",
          [](ThreeParts& parts) { parts.third = part(2, 4, 4); });
  refused("model-00003-of-00003.gguf: by its metadata the file is part 1 of 1; expected part 3 of 3",
          [](ThreeParts& parts) { parts.third = GgufBuilder().f32_tensor("d", {1}, {5}); });
  refused("model-00002-of-00003.gguf: metadata 'split.no' is 3 of 3 parts; expected 0 to 2",
          [](ThreeParts& parts) { parts.second = part(3, 3, 4); });
  refused("model-00003-of-00003.gguf: tensor 'b' is in ",
          [](ThreeParts& parts) { parts.third.f32_tensor("b", {1}, {3}); });
  refused("model-00001-of-00003.gguf: the 3 parts have 5 tensors; expected 4 (split.tensors.count)",
          [](ThreeParts& parts) { parts.third.f32_tensor("e", {1}, {3}); });
  refused("model-00002-of-00003.gguf: metadata 'general.architecture' differ from those of ",
          [](ThreeParts& parts) { parts.second.string("general.architecture", "qwen2"); });
  refused("model-00002-of-00003.gguf: metadata 'tokens' differ from those of ", [](ThreeParts& parts) {
    parts.second.strings("tokens", {"a", "c"});
  });
  refused("model-00003-of-00003.gguf: metadata 'split.tensors.count' differ from those of ",
          [](ThreeParts& parts) { parts.third = part(2, 3, 5).f32_tensor("d", {1}, {5}); });
  refused("'split.tensors.count' is missing", [](ThreeParts& parts) {
    for (auto* one : {&parts.first, &parts.second, &parts.third}) {
      const uint16_t number = one == &parts.first ? 0 : one == &parts.second ? 1 : 2;
      *one = GgufBuilder();
      one->raw("split.no", 2, GgufBytes().number(number)).raw("split.count", 2, GgufBytes().number<uint16_t>(3));
    }
  });
  refused("metadata 'split.count' is 100000; expected at most 99999", [](ThreeParts& parts) {
    parts.first = GgufBuilder();
    parts.first.u32("split.no", 0).u32("split.count", 100000);
  });
}

TEST(GgufParts, SameMetadataInEveryPartAgree) {
  ThreeParts parts;
  parts.second.string("general.architecture", "llama").strings("tokens", {"a", "b"}).u32("only.here", 1);
  parts.write();
  const MappedGguf opened = open_gguf(MappedFile(parts.path(1)));
  EXPECT_EQ(opened.model.tensors.size(), 4u);
  EXPECT_EQ(opened.model.find("only.here"), nullptr);
}

TEST(GgufParts, AreCheckedWithoutFilesToo) {
  expect_error(ErrorCode::invalid_file, "part 1 of 3 is the first of 1 parts", [] {
    const std::string file = part(0, 3, 1).build();
    join_gguf_parts({parse_gguf(std::as_bytes(std::span(file)), "x")});
  });
}

}  // namespace
}  // namespace mxq
