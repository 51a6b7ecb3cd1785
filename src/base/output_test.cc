#include "mxq/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "base/atomic_file.h"
#include "base/staged_folder.h"
#include "base/written_files.h"
#include "mxq/error.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

namespace fs = std::filesystem;

constexpr FileKind kKind{"a table", "a,b\n"};

class Output : public testing::Test {
 protected:
  Output() {
    fs::create_directories(folder_ / "models" / "in");
    put("models/in/config.json", "{}");
    put("models/in/model.safetensors", "weights");
  }
  void put(const fs::path& name, const std::string& text) { std::ofstream(folder_ / name, std::ios::binary) << text; }
  std::string get(const fs::path& name) { return read_file(folder_ / name); }
  InputPaths model() { return {{"the model", folder_ / "models" / "in"}}; }

  void refused(const fs::path& out, const std::string& says, bool overwrite = true) {
    try {
      OutputFolder(out, overwrite, model());
      ADD_FAILURE() << out;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::usage);
      EXPECT_THAT(e.what(), testing::HasSubstr(says)) << out;
    }
  }
  void file_refused(const fs::path& out, const std::string& says) {
    try {
      OutputFile(out, kKind, model());
      ADD_FAILURE() << out;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::usage);
      EXPECT_THAT(e.what(), testing::HasSubstr(says)) << out;
    }
  }
  void make(const fs::path& out, const std::string& text = "new") {
    StagedFolder stage(OutputFolder(out, true, model()), "key");
    write_file(stage.file("weights"), text);
    stage.commit();
  }
  /// All that is in the folder, with what files hold.
  std::map<std::string, std::string> all() {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      const bool file = entry.symlink_status().type() == fs::file_type::regular;
      found[entry.path().string()] = file ? read_file(entry.path()) : "";
    }
    return found;
  }

  const TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST_F(Output, NeverIsInOrAboveWhatIsRead) {
  fs::create_directory_symlink(folder_ / "models", folder_ / "link");
  fs::create_directories(folder_ / "elsewhere");
  for (const char* out : {"models/in", "models/in/", "models/in//", "models/./in", "models/in/../in", "link/in",
                          "link/in/", "none/../models/in", "link/../models/in"}) {
    refused(folder_ / out, "it is the model");
  }
  refused(folder_ / "models", "it holds the model");
  refused(folder_ / "link/", "it holds the model");
  refused(folder_ / "models/in/..", "it holds the model");
  refused(folder_ / "models/in/a/b", "it is inside the model");
  refused(folder_ / "link/in/new", "it is inside the model");
  refused("/", "it holds the model");
}

TEST_F(Output, NeverHoldsWhatLinksInAModelLeadTo) {
  fs::create_directories(folder_ / "blobs" / "deep");
  put("blobs/deep/x", "weights");
  fs::create_symlink(folder_ / "blobs" / "deep" / "x", folder_ / "models" / "in" / "more.safetensors");
  refused(folder_ / "blobs", "it holds files of the model");
  refused(folder_ / "blobs" / "deep", "it holds files of the model");
  file_refused(folder_ / "blobs" / "deep" / "x", "it is a file of the model");
  // Another name of the same file.
  fs::create_hard_link(folder_ / "models" / "in" / "model.safetensors", folder_ / "w");
  file_refused(folder_ / "w", "it is a file of the model");
}

TEST_F(Output, NeverIsTheWorkingFolderOrAboveIt) {
  const fs::path before = fs::current_path();
  fs::create_directories(folder_ / "work" / "here");
  fs::current_path(folder_ / "work" / "here");
  for (const char* out : {".", "./", "..", "../here", "../../work"})
    refused(out, "it is the working folder, or above it");
  EXPECT_NO_THROW(OutputFolder("new", false, model()));
  EXPECT_NO_THROW(OutputFolder("../new", false, model()));
  fs::current_path(before);
}

TEST_F(Output, OnlyAFolderThatMxqWroteIsReplacedAndOnlyWhole) {
  const fs::path out = folder_ / "out";
  make(out, "old");
  refused(out, "it exists", false);
  make(out);
  EXPECT_EQ(get("out/weights"), "new");

  put("out/notes.txt", "precious");
  refused(out, "it holds 'notes.txt', which mxq did not write");
  fs::remove(out / "notes.txt");
  fs::create_directory(out / "sub");
  refused(out, "it holds 'sub', which mxq did not write");
  fs::remove(out / "sub");
  put("out/weights", "mine");
  refused(out, "its 'weights' is no longer as mxq wrote it");
  put("out/weights", "new");
  fs::rename(out / "weights", folder_ / "moved");
  fs::create_symlink(folder_ / "moved", out / "weights");
  refused(out, "it holds 'weights', which mxq did not write");
  fs::remove(out / "weights");
  make(out);

  fs::create_directory(folder_ / "mine");
  put("mine/config.json", "{}");
  refused(folder_ / "mine", "it has no list of what mxq wrote (.mxq-files), and holds 'config.json'");
  fs::create_directory(folder_ / "empty");
  EXPECT_NO_THROW(make(folder_ / "empty"));
  fs::create_directory_symlink(out, folder_ / "link");
  refused(folder_ / "link", "it is a link");
  refused(folder_ / "link/", "it is a link");
  fs::create_symlink(folder_ / "nowhere", folder_ / "dangling");
  refused(folder_ / "dangling", "it is a link");
  put("file", "");
  refused(folder_ / "file", "it is no folder");
}

TEST_F(Output, LargeFilesAreKnownByPiecesOfThem) {
  const fs::path out = folder_ / "out";
  std::string weights((3 << 20) + 17, 'w');
  make(out, weights);
  make(out, weights);
  for (const size_t at : {size_t{0}, weights.size() - 1}) {
    std::string changed = weights;
    changed[at] = 'x';
    put("out/weights", changed);
    refused(out, "its 'weights' is no longer as mxq wrote it");
  }
  put("out/weights", std::string(weights.size(), 'x'));
  refused(out, "its 'weights' is no longer as mxq wrote it");
}

TEST_F(Output, DamagedListsMakeNothingOurs) {
  const fs::path out = folder_ / "out";
  make(out);
  for (const char* text : {"", "mxq files 2\n", "mxq files 1\nweights\n", "mxq files 1\n3 weights\n", "x",
                           "mxq files 1\n99999999999999999999 - weights\n"}) {
    put("out/.mxq-files", text);
    refused(out, "");
    EXPECT_EQ(get("out/weights"), "new");
  }
  put("out/.mxq-files", "mxq files 1\n6 - ../models\n");
  refused(out, "it holds 'weights'");
}

TEST_F(Output, WhatComesWhileAFolderIsMadeStays) {
  const fs::path out = folder_ / "out";
  make(out, "old");
  {
    StagedFolder stage(OutputFolder(out, true, model()), "key");
    write_file(stage.file("weights"), "new");
    put("out/notes.txt", "precious");
    EXPECT_THROW(stage.commit(), Error);
  }
  EXPECT_EQ(get("out/notes.txt"), "precious");
  EXPECT_EQ(get("out/weights"), "old");
  EXPECT_FALSE(fs::exists(folder_ / ".out.partial"));
  StagedFolder stage(OutputFolder(folder_ / "new", false, model()), "key");
  write_file(stage.file("weights"), "new");
  fs::create_directory(folder_ / "new");
  EXPECT_THROW(stage.commit(), Error) << "not even an empty folder";
}

TEST_F(Output, NeighboursAreNobodysButTheirOwners) {
  const fs::path out = folder_ / "out";
  make(out, "old");
  fs::create_directory(folder_ / ".out.old");
  put(".out.old/precious", "1");
  put(".out.partial-notes", "2");
  make(out);
  EXPECT_EQ(get(".out.old/precious"), "1");
  EXPECT_EQ(get(".out.partial-notes"), "2");
  fs::create_directory(folder_ / ".out.partial");
  put(".out.partial/precious", "3");
  refused(out, "is in the way");
  fs::remove_all(folder_ / ".out.partial");
  put(".out.partial", "4");
  refused(out, "is in the way");
  EXPECT_EQ(get(".out.partial"), "4");
  fs::remove(folder_ / ".out.partial");
  fs::create_directory_symlink(folder_ / "models" / "in", folder_ / ".out.partial");
  refused(out, "is in the way");
}

TEST_F(Output, AKilledRunsFolderIsTakenOverOrItsFilesRemoved) {
  const fs::path out = folder_ / "out", partial = folder_ / ".out.partial";
  const auto killed = [&](const std::string& key) {
    fs::create_directory(partial);
    begin_written_files(partial, key);
    add_written_file(partial, "shard");
    write_file(partial / "shard", "done");
    put(".out.partial/.shard.123456.partial", "half");
  };
  killed("key");
  {
    StagedFolder stage(OutputFolder(out, false, model()), "key");
    EXPECT_TRUE(stage.resumed());
    EXPECT_EQ(get(".out.partial/shard"), "done");
  }
  EXPECT_FALSE(fs::exists(partial)) << "errors leave nothing";
  killed("another");
  {
    StagedFolder stage(OutputFolder(out, false, model()), "key");
    EXPECT_FALSE(stage.resumed());
    EXPECT_FALSE(fs::exists(partial / "shard"));
    EXPECT_THROW(StagedFolder(OutputFolder(out, false, model()), "key"), Error) << "two processes in one folder";
    write_file(stage.file("new"), "n");
    stage.commit();
  }
  EXPECT_EQ(get("out/new"), "n");
  killed("key");
  put(".out.partial/notes.txt", "precious");
  refused(out, "it holds 'notes.txt'");
  fs::remove_all(partial);
  // Killed between the exchange and the removal of what was replaced.
  fs::copy(out, partial);
  make(out);
  EXPECT_FALSE(fs::exists(partial));
  // Killed before its list was written.
  fs::create_directory(partial);
  make(out);
  EXPECT_FALSE(fs::exists(partial));
}

TEST_F(Output, FilesReplaceTheirOwnKindOnly) {
  const OutputFile file(folder_ / "t.csv", kKind, model());
  file.write("a,b\n1,2\n");
  file.write("a,b\n3,4\n");
  EXPECT_EQ(get("t.csv"), "a,b\n3,4\n");
  put("t.csv", "a,b,c\n");
  EXPECT_THROW(file.write("a,b\n"), Error) << "it is another's now";
  EXPECT_EQ(get("t.csv"), "a,b,c\n");
  put("empty", "");
  EXPECT_NO_THROW(OutputFile(folder_ / "empty", kKind, model()));
  put("short", "a,b");
  file_refused(folder_ / "short", "mxq did not write it as a table");
  file_refused(folder_ / "models", "it holds the model");
  fs::create_directory(folder_ / "d");
  file_refused(folder_ / "d", "it is a folder");
  file_refused(folder_ / "d/", "it is no name of a file");
  file_refused("", "it is no name of a file");
  EXPECT_THROW(OutputFile(folder_ / "none" / "t.csv", kKind, model()), Error) << "before the work, not after it";
  file_refused("/dev/null", "it is a device");
  file_refused("/dev/stdout", "it is a link");
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  file_refused(folder_ / "pipe", "it is a pipe");
  fs::create_symlink(folder_ / "nothing", folder_ / "link");
  file_refused(folder_ / "link", "it is a link");
  file_refused(folder_ / "models/in/model.safetensors", "it is inside the model");
  file_refused(folder_ / "models/in/new.csv", "it is inside the model");
}

TEST_F(Output, TwoOutputsAreTwoFiles) {
  const InputPaths other{{"the plan", folder_ / "models" / ".." / "out.json"}};  // which is not there yet
  try {
    OutputFile(folder_ / "out.json", kKind, other);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("out.json: it is the plan ("));
  }
  EXPECT_NO_THROW(OutputFile(folder_ / "other.json", kKind, other));
}

TEST_F(Output, AtomicFilesTakeNobodysNameAndReplaceFilesOnly) {
  put(".a.partial", "mine");
  fs::create_directory(folder_ / "d");
  fs::create_symlink(folder_ / "models/in/config.json", folder_ / "link");
  const auto before = all();
  for (const char* name : {"d", "link", "/dev/null"}) EXPECT_THROW(AtomicFile(folder_ / name), Error) << name;
  {
    AtomicFile file(folder_ / "a");
    file.write("x");
  }
  EXPECT_EQ(all(), before);
  AtomicFile file(folder_ / "a");
  file.write("x");
  fs::create_symlink(folder_ / "models/in/config.json", folder_ / "a");
  EXPECT_THROW(file.commit(), Error) << "a link has come meanwhile";
  EXPECT_EQ(get("models/in/config.json"), "{}");
  const std::string long_name(255, 'n');
  write_file(folder_ / long_name, "long");
  EXPECT_EQ(get(long_name), "long");
}

}  // namespace
}  // namespace mxq
