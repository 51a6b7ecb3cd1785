// What a path holds, on small made files.
#include "model/model_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "expect_error.h"
#include "model/model_source.h"
#include "mxq/files.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

using ::testing::ElementsAre;

const std::string kEmptySafetensors = std::string("\x08\0\0\0\0\0\0\0", 8) + "{}      ";

TEST(ModelFiles, TheFirstBytesDecide) {
  const TemporaryFolder folder;
  const auto kind = [&](const std::string& name, const std::string& bytes) {
    write_file(folder / name, bytes);
    return kind_of_file(MappedFile(folder / name));
  };
  EXPECT_EQ(kind("sha256-9f0c", "GGUF\3"), FileKind::gguf);
  EXPECT_EQ(kind("MODEL.GGUF", "GGUF\3"), FileKind::gguf);
  EXPECT_EQ(kind("blob", kEmptySafetensors), FileKind::safetensors);
  EXPECT_EQ(kind("damaged.Safetensors", "x"), FileKind::safetensors);
  EXPECT_EQ(kind("model.gguf.part", "GGUF\3"), std::nullopt);
  EXPECT_EQ(kind("model.safetensors", "PK\3\4"), FileKind::torch);
  EXPECT_EQ(kind("pytorch_model.bin", "x"), std::nullopt);
  EXPECT_THROW(map_model_file(folder.path()), Error) << "no regular file";
}

TEST(ModelFiles, OtherFilesAreNamed) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& name, const std::string& bytes, const char* message,
                           ErrorCode code = ErrorCode::unsupported) {
    write_file(folder / name, bytes);
    expect_error(code, message, [&] { open_model(folder / name); });
  };
  refused("model.gguf.part", "GGUF", "a download that has not ended");
  refused("a.safetensors", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull", ErrorCode::invalid_file);
  refused("b.gguf", "PK\3\4", "too few for a zip archive", ErrorCode::invalid_file);
  refused("c", "\x80\x02}", "a pickle, which is a program that runs when it is read");
  refused("c.pth", "\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.", "saved again by torch.save of PyTorch 1.6 or newer");
  refused("c.bin", "x", "a file that does not begin as those of torch.save do");
  refused("d.gguf", "<!DOCTYPE html>", "a web page");
  refused("config.json", "{}", "the folder that the file lies in");
  refused("e", "", "an empty file");
  refused("f.txt", "text", "a file ending in '.txt'");
}

TEST(ModelFiles, OtherFoldersAreNamed) {
  const TemporaryFolder folder;
  int number = 0;
  const auto refused = [&](const std::vector<std::string>& names, const char* message) {
    const auto place = folder / std::to_string(++number);
    std::filesystem::create_directory(place);
    for (const auto& name : names) write_file(place / name, R"({"base_model_name_or_path": "org/base"})");
    expect_error(ErrorCode::unsupported, message, [&] { open_model(place); });
  };
  refused({"adapter_config.json", "adapter_model.safetensors"}, "an adapter without its base model 'org/base'");
  refused({"adapter_config.json", "adapter_model.bin"}, "merged into its base model");
  refused({"model_index.json", "scheduler.json"}, "a diffusers pipeline");
  refused({"model.onnx", "config.json"}, "an ONNX model");
  refused({"a.gguf", "b.gguf"}, "the folder has 2 .gguf files: 'a.gguf', 'b.gguf'");
}

TEST(ModelFiles, AProjectorIsNoSecondModel) {
  const TemporaryFolder folder;
  EXPECT_EQ(only_gguf(folder.path()), std::nullopt);
  write_file(folder / "mmproj-f16.gguf", "GGUF");
  write_file(folder / "a-q8_0.gguf", "GGUF");
  EXPECT_EQ(only_gguf(folder.path()), folder / "a-q8_0.gguf");
}

TEST(ModelFiles, PartsAreOneModel) {
  const TemporaryFolder folder;
  write_file(folder / "m-00001-of-00003.gguf", "GGUF");
  write_file(folder / "m-00003-of-00003.gguf", "GGUF");
  write_file(folder / "mmproj-f16.gguf", "GGUF");
  expect_error(ErrorCode::not_found, "of the 3 shards 'm-*-of-00003.gguf', 1 are missing: number 2",
               [&] { only_gguf(folder.path()); });
  write_file(folder / "m-00002-of-00003.gguf", "GGUF");
  EXPECT_EQ(only_gguf(folder.path()), folder / "m-00001-of-00003.gguf");
  write_file(folder / "n-00001-of-00001.gguf", "GGUF");
  expect_error(ErrorCode::unsupported, "the folder has 4 .gguf files", [&] { only_gguf(folder.path()); });
}

TEST(ModelFiles, WeightsWithoutAnIndex) {
  const TemporaryFolder folder;
  write_file(folder / "my-finetune.safetensors", kEmptySafetensors);
  EXPECT_THAT(unindexed_weights(folder.path()), ElementsAre(folder / "my-finetune.safetensors"));
  write_file(folder / "other.safetensors", kEmptySafetensors);
  expect_error(ErrorCode::unsupported, "'my-finetune.safetensors', 'other.safetensors'",
               [&] { unindexed_weights(folder.path()); });
}

TEST(ModelFiles, WeightsOfTorch) {
  const TemporaryFolder folder;
  for (const char* name : {"training_args.bin", "optimizer.pt", "rng_state_0.pth", "adapter_model.bin"}) {
    write_file(folder / name, "x");
  }
  EXPECT_FALSE(has_torch_weights(folder.path()));
  write_file(folder / "model-00002-of-00002.BIN", "x");
  expect_error(ErrorCode::not_found, "1 are missing: number 1", [&] { torch_weights(folder.path()); });
  write_file(folder / "model-00001-of-00002.BIN", "x");
  EXPECT_EQ(torch_weights(folder.path()).size(), 2u);
  write_file(folder / "other.pth", "x");
  expect_error(ErrorCode::unsupported, "several weight files and none is pytorch_model.bin",
               [&] { torch_weights(folder.path()); });
  EXPECT_TRUE(is_one_of_shards("a/model-00001-of-00002.bin"));
  EXPECT_FALSE(is_one_of_shards("a/model-00001-of-00001.bin") || is_one_of_shards("a/model.bin"));
}

TEST(ModelFiles, EntriesOfTheHubsCache) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "snapshots" / "0e9e39f2");
  std::filesystem::create_directories(folder / "blobs");
  expect_error(ErrorCode::unsupported,
               "an entry of the Hub's cache, which keeps a folder for each revision; expected the folder of one in "
               "'snapshots': '0e9e39f2'",
               [&] { refuse_folder(folder.path()); });
}

TEST(ModelFiles, ShardsWithoutAnIndex) {
  const TemporaryFolder folder;
  write_file(folder / "model-00001-of-00003.safetensors", kEmptySafetensors);
  write_file(folder / "model-00003-of-00003.safetensors", kEmptySafetensors);
  expect_error(ErrorCode::not_found, "1 are missing: number 2", [&] { unindexed_weights(folder.path()); });
  write_file(folder / "model-00002-of-00003.safetensors", kEmptySafetensors);
  EXPECT_THAT(unindexed_weights(folder.path()),
              ElementsAre(folder / "model-00001-of-00003.safetensors", folder / "model-00002-of-00003.safetensors",
                          folder / "model-00003-of-00003.safetensors"));
}

}  // namespace
}  // namespace mxq
