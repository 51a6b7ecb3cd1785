// Specs: what they mean and what is wrong with them.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "expect_error.h"
#include "mxq/error.h"
#include "mxq/experiment.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

namespace fs = std::filesystem;

class Spec : public testing::Test {
 protected:
  Spec() {
    fs::create_directories(folder_ / "model");
    std::ofstream(folder_ / "text.txt") << "text";
  }

  Experiment read(const std::string& toml) {
    std::ofstream(folder_ / "spec.toml") << toml;
    return read_experiment(folder_ / "spec.toml");
  }
  void refuses(const std::string& toml, const std::string& says) {
    expect_error(ErrorCode::usage, says, [&] { read(toml); });
  }

  const TemporaryFolder folder_;
};

const std::string kModel = "[[models]]\nname = \"m\"\npath = \"model\"\n";
const std::string kText = "[[texts]]\nname = \"t\"\npath = \"text.txt\"\nwindow = 512\n";
const std::string kHqq = "[[methods]]\nname = \"hqq\"\nfit = \"hqq\"\nuniform = [\"b4g64\", \"b3g64\"]\n";

TEST_F(Spec, RunsAreModelsByMethodsByBudgets) {
  const auto experiment = read(
      "store = \"results.db\"\n" + kModel + "[[models]]\nname = \"n\"\npath = \"model\"\n" + kText + kHqq +
      "[[methods]]\nname = \"mxq\"\nbits = [3.25, \"b3g64\"]\nsize = \"64MiB\"\nmax-loss = \"1%\"\nmodels = \"n\"\n"
      "[[methods]]\nname = \"none\"\noriginal = true\nmodels = [\"m\"]\n"
      "[metrics]\nkl = \"t\"\nperplexity = [\"t\"]\nbase-logits = true\nself-kl = true\ncompute = \"bf16\"\n"
      "[[metrics.commands]]\nname = \"c\"\nrun = [\"true\", \"{checkpoint}\"]\n");
  EXPECT_EQ(experiment.store, folder_ / "results.db");
  std::vector<std::string> labels;
  for (const auto& run : experiment.runs) labels.push_back(run.label());
  EXPECT_EQ(labels, (std::vector<std::string>{"m hqq b4g64", "m hqq b3g64", "n hqq b4g64", "n hqq b3g64", "n mxq 3.25",
                                              "n mxq b3g64", "n mxq 64MiB", "n mxq loss 1%", "m none"}));
  const ExperimentRun& first = experiment.runs[0];
  EXPECT_EQ(first.quantize, (std::vector<std::string>{"--uniform", "b4g64", "--fit", "hqq"}));
  ASSERT_EQ(first.scorings.size(), 2u);
  EXPECT_EQ(first.scorings[0].name, "t");
  EXPECT_TRUE(first.scorings[0].against_original) << "perplexity comes with it";
  EXPECT_EQ(first.scorings[0].flags, (std::vector<std::string>{"--window", "512", "--compute", "bf16"}));
  EXPECT_TRUE(first.scorings[0].base_logits);
  EXPECT_EQ(first.scorings[1].name, "self");
  EXPECT_FALSE(first.scorings[1].base_logits) << "its text is sampled anew";
  EXPECT_EQ(first.commands.at(0).arguments.at(1), "{checkpoint}");
  EXPECT_EQ(experiment.runs[4].quantize, (std::vector<std::string>{"--bits", "3.25"}));
  EXPECT_TRUE(experiment.runs[8].original);
}

TEST_F(Spec, NothingDependsOnWhereItIsReadFrom) {
  std::ofstream(folder_ / "score.sh") << "#!/bin/sh\n";
  fs::permissions(folder_ / "score.sh", fs::perms::owner_all);
  std::ofstream(folder_ / "model" / "weights") << "weights";
  const std::string toml = kModel + kHqq + "[[metrics.commands]]\nname = \"c\"\nrun = [\"./score.sh\", \"text.txt\"]\n";
  auto here = read(toml);
  identify(here);
  const auto before = fs::current_path();
  fs::current_path(folder_.path());
  auto there = read_experiment("spec.toml");
  identify(there);
  fs::current_path(before);
  EXPECT_EQ(here.runs[0].folder, folder_.path());
  for (size_t i = 0; i < here.runs.size(); ++i) {
    EXPECT_EQ(here.runs[i].id, there.runs[i].id);
    EXPECT_EQ(here.runs[i].model_path, there.runs[i].model_path);
  }
  std::ofstream(folder_ / "text.txt") << "another";
  auto changed = read(toml);
  identify(changed);
  EXPECT_NE(changed.runs[0].id, here.runs[0].id) << "of files that arguments name, the bytes count";
}

TEST_F(Spec, Mistakes) {
  refuses(kModel + "[[method]]\nname = \"x\"\n", "line 4: unknown key 'method'; expected 'methods', the nearest");
  refuses(kModel + "[[methods]]\nname = \"x\"\nbits = 3\nnormalise = \"none\"\n",
          "line 7: unknown key 'normalise'; expected 'normalize', the nearest");
  refuses("[[models]]\nname = \"m\"\npath = \"absent\"\n" + kHqq, "line 3: path = 'absent'; expected a file or folder");
  refuses(kModel + "[[methods]]\nname = \"x\"\nfit = \"magic\"\nbits = 3\n",
          "line 6: fit = 'magic'; expected rtn, hqq");
  refuses(kModel + "[[methods]]\nname = \"x\"\nuniform = [\"b9g64\"]\n", "line 6: uniform = 'b9g64'; expected ");
  refuses(kModel + "[[methods]]\nname = \"x\"\nformat = \"gguf\"\nbits = 5\n",
          "line 6: format = 'gguf'; expected mxq, the checkpoints that experiments evaluate");
  refuses(kModel + "[[methods]]\nname = \"x\"\nbits = [99]\n", "line 6: bits = '99'");
  refuses(kModel + "[[methods]]\nname = \"x\"\nsize = \"big\"\n", "line 6: size = 'big'");
  refuses(kModel + "[[methods]]\nname = \"x\"\nfit = \"hqq\"\n", "line 4: method 'x' without a budget");
  refuses(kModel + "[[methods]]\nname = \"x\"\nbits = 3\nmodels = [\"q\"]\n",
          "models = 'q'; expected one of [[models]]: m");
  refuses(kModel + kHqq + kHqq, "name = 'hqq'; expected another name");
  refuses(kModel + "[[methods]]\nname = \"x\"\nbits = [3, 3]\n", "run 'm x 3' twice");
  refuses(kModel + kHqq + "[metrics]\nkl = \"u\"\n", "kl = 'u'; expected one of [[texts]]: ");
  refuses(kModel + kHqq + "[metrics]\npacked = 1\n", "packed = neither of them; expected true or false");
  refuses(kModel + "[[methods]]\nname = \"x\"\noriginal = true\nbits = 3\n",
          "original = true; expected a method without budget");
  const std::string method = kModel + "[[methods]]\nname = \"x\"\nbits = 3\n";
  refuses(method + "metadata = \"q9\"\n", "line 7: metadata = 'q9'; expected q8");
  refuses(method + "axis = 2\n", "line 7: axis = '2'; expected 0 or 1");
  refuses(method + "schemes = \"wide,b9g1\"\n", "line 7: schemes = 'wide,b9g1'; expected a comma list of wide");
  refuses(method + "damping = -1\n", "line 7: damping = '-1'; expected a number from 0 to 100");
  refuses(method + "calibration-tokens = 0\n", "line 7: calibration-tokens = '0'; expected a whole number from 1");
  refuses(method + "column-order = \"up\"\n", "line 7: column-order = 'up'; expected left");
  refuses(method + "zero-point = \"x\"\n", "line 7: zero-point = 'x'; expected real");
  refuses(method + "sample-tokens = 1.5\n", "line 7: sample-tokens = '1.5'; expected a whole number from 4");
  refuses(method + "max-loss = [\"1%\", \"-1%\"]\n", "line 7: max-loss = '-1%'; expected how much perplexity may rise");
  refuses(kModel + kText + "recipe = \"x\"\n" + kHqq, "line 8: recipe = 'x'; expected hf");
  refuses(kModel + kText + "stride = 0\n" + kHqq, "line 8: stride = '0'; expected a whole number from 1");
  refuses(kModel + kHqq + "[metrics]\ncompute = \"f16\"\n", "compute = 'f16'; expected f32, bf16, auto");
  const std::string command = kModel + kHqq + "[[metrics.commands]]\nname = \"c\"\nrun = ";
  refuses(command + "[\"no-such-program\"]\n", "run = 'no-such-program'; expected a program in PATH, or");
  refuses(command + "[\"./text.txt\"]\n", "run = './text.txt'; expected a program in PATH, or");
  refuses(kHqq, "no runs");
  refuses("a = [", "line 1: ");
  expect_error(ErrorCode::not_found, "absent.toml", [&] { read_experiment(folder_ / "absent.toml"); });
}

}  // namespace
}  // namespace mxq
