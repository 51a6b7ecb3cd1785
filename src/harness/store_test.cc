// Stores: what survives, who does what, and the authors' CSV.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "expect_error.h"
#include "harness/connection.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "shared_data.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

namespace fs = std::filesystem;

class Store : public testing::Test {
 protected:
  static ExperimentRun run(const std::string& method) {
    ExperimentRun run;
    run.model = "m";
    run.method = method;
    run.config = "b4g64";
    return run;
  }

  const TemporaryFolder folder_;
  const fs::path path_ = folder_ / "store.db";
};

TEST_F(Store, KeepsWhatIsDone) {
  {
    StoreConnection store(path_, true);
    const auto worker = store.register_worker();
    for (const char* id : {"a", "b", "c"}) store.enqueue(id, run(id));
    ASSERT_TRUE(store.claim("a", worker));
    EXPECT_FALSE(store.claim("a", worker)) << "it is taken";
    EXPECT_FALSE(store.claim("x", worker)) << "it is not there";
    store.finish("a", {{"kl.t", 0.25}, {"bits_per_parameter", 4}}, {{"quantize", "{\"x\":1}"}}, "log");
    ASSERT_TRUE(store.claim("b", worker));
    store.fail("b", "step: why", "all of it");
    store.enqueue("a", run("renamed"));
  }
  const auto store = ResultStore::open(path_);
  const auto runs = store.runs();
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].state, RunState::done);
  EXPECT_EQ(runs[0].method, "renamed") << "a name is no content";
  EXPECT_EQ(runs[0].metrics, (std::map<std::string, double>{{"kl.t", 0.25}, {"bits_per_parameter", 4}}));
  EXPECT_EQ(runs[1].state, RunState::failed);
  EXPECT_EQ(runs[1].error, "step: why");
  EXPECT_EQ(runs[2].state, RunState::queued);
  EXPECT_EQ(store.document("a", "quantize"), "{\"x\":1}");
  EXPECT_EQ(store.document("a", "none"), "");
  EXPECT_EQ(store.log("b"), "all of it");
  const auto status = store.status();
  EXPECT_EQ(status.done, 1);
  EXPECT_EQ(status.failed, 1);
  EXPECT_EQ(status.queued, 1);
}

TEST_F(Store, RunsOfDeadProcessesGoBackToTheQueue) {
  {
    StoreConnection store(path_, true);
  }
  const pid_t child = ::fork();
  if (child == 0) {
    StoreConnection store(path_, false);
    store.enqueue("a", run("a"));
    store.claim("a", store.register_worker());
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  StoreConnection store(path_, false);
  store.enqueue("b", run("b"));
  store.claim("b", store.register_worker());
  EXPECT_EQ(store.state("a"), RunState::running);
  store.release_dead();
  EXPECT_EQ(store.state("a"), RunState::queued);
  EXPECT_EQ(store.state("b"), RunState::running) << "this process lives";
  EXPECT_EQ(store.live_workers(), 1);
}

TEST_F(Store, OthersAreRefused) {
  expect_error(ErrorCode::not_found, "store.db", [&] { ResultStore::open(path_); });
  std::ofstream(path_) << std::string(5000, 'x');
  expect_error(ErrorCode::invalid_file, "not a database", [&] { ResultStore::create(path_); });
  fs::remove(path_);
  {
    Database(path_, true).execute("CREATE TABLE other(x)");
  }
  expect_error(ErrorCode::invalid_file, "a database of another program", [&] { ResultStore::create(path_); });
  fs::remove(path_);
  {
    ResultStore::create(path_);
  }
  {
    Database(path_, false).execute("PRAGMA user_version = 7");
  }
  expect_error(ErrorCode::unsupported, "version 7; 1", [&] { ResultStore::open(path_); });
}

TEST_F(Store, CsvOfTheAuthors) {
  MXQ_NEEDS_SHARED_DATA("mxq-paper/combined.csv");
  const fs::path csv = shared_data("mxq-paper/combined.csv");
  auto store = ResultStore::create(path_);
  EXPECT_EQ(store.import_csv(read_file(csv), "combined.csv"), 692);
  EXPECT_EQ(store.import_csv(read_file(csv), "combined.csv"), 0) << "known already";
  const auto runs = store.runs();
  EXPECT_EQ(runs[0].method, "mxq kurt-scaled");
  EXPECT_EQ(runs[0].config, "3_97");
  EXPECT_EQ(runs[0].metrics.at("perplexity.wikitext"), 5.4023);
  EXPECT_EQ(runs[0].metrics.at("file_bytes"), 3.69 * 0x1p30);
  const std::string out = store.export_csv();
  EXPECT_TRUE(
      out.starts_with("model,algo,config,bpp,attempt,ppl_wikitext,ppl_c4,load_mem_allot,model_storage_size,"
                      "quant_duration,param_count,source,state"));
  EXPECT_NE(out.find("\nLlama-2-7b-hf,mxq kurt-scaled,3_97,3.97,,5.4023,7.2641,3.72,3.69,"), std::string::npos);
}

TEST_F(Store, BadCsv) {
  auto store = ResultStore::create(path_);
  expect_error(ErrorCode::invalid_file, "column 'algo': the column is missing",
               [&] { store.import_csv("model,config\nm,c\n", "x.csv"); });
  expect_error(ErrorCode::invalid_file, "line 3, column 'bpp': 'many'; a number",
               [&] { store.import_csv("model,algo,config,bpp\nm,a,c,1\nm,a,d,many\n", "x.csv"); });
  EXPECT_TRUE(store.runs().empty()) << "all or nothing";
  expect_error(ErrorCode::invalid_file, "line 2: 2 cells; 3",
               [&] { store.import_csv("model,algo,config\nm,a\n", "x.csv"); });
  EXPECT_EQ(store.import_csv("model,algo,config,bpp\n\"a,b\",\"q\"\"\",c,\n", "x.csv"), 1);
  EXPECT_NE(store.export_csv().find("\n\"a,b\",\"q\"\"\",c,,"), std::string::npos);
}

}  // namespace
}  // namespace mxq
