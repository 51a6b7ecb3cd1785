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
  static ExperimentRun run(const std::string& method, std::optional<double> seconds = {}) {
    ExperimentRun run;
    run.seconds = seconds;
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
    StoreConnection store(path_, Access::create);
    const WorkerFolder folder(store.work_folder());
    const auto worker = store.register_worker(folder);
    for (const char* id : {"a", "b", "c"}) store.enqueue(id, run(id));
    ASSERT_TRUE(store.claim("a", worker));
    EXPECT_FALSE(store.claim("a", worker)) << "it is taken";
    EXPECT_FALSE(store.claim("x", worker)) << "it is not there";
    EXPECT_TRUE(
        store.finish("a", worker, {{{"kl.t", 0.25}, {"bits_per_parameter", 4}}, {{"quantize", "{\"x\":1}"}}, "log"}));
    ASSERT_TRUE(store.claim("b", worker));
    EXPECT_TRUE(store.fail("b", worker, "step: why", "all of it"));
    store.enqueue("a", run("renamed"));
    for (const char* id : {"b", "c"}) store.enqueue(id, run(id));
  }
  const auto store = ResultStore::open(path_);
  const auto runs = store.runs();
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].state, RunState::done);
  EXPECT_EQ(runs[0].method, "renamed") << "a name is no content";
  EXPECT_EQ(runs[0].metrics, (std::map<std::string, double>{{"kl.t", 0.25}, {"bits_per_parameter", 4}}));
  EXPECT_FALSE(runs[0].version.empty());
  EXPECT_EQ(runs[1].state, RunState::failed);
  EXPECT_EQ(runs[1].error, "step: why");
  EXPECT_EQ(runs[2].state, RunState::queued);
  EXPECT_EQ(store.log("b"), "all of it");
  const auto status = store.status();
  EXPECT_EQ(status.done, 1);
  EXPECT_EQ(status.failed, 1);
  EXPECT_EQ(status.queued, 1);
}

TEST_F(Store, RunsAreInTheOrderOfTheirLatestSpec) {
  StoreConnection store(path_, Access::create);
  for (const char* id : {"a", "b", "c"}) store.enqueue(id, run(id));
  for (const char* id : {"c", "d", "a"}) store.enqueue(id, run(id));  // b is of another spec
  std::string order;
  for (const auto& run : ResultStore::open(path_).runs()) order += run.method;
  EXPECT_EQ(order, "bcda");
}

TEST_F(Store, LaterContentTakesTheNamesOfEarlier) {
  StoreConnection store(path_, Access::create);
  const WorkerFolder folder(store.work_folder());
  const auto worker = store.register_worker(folder);
  store.enqueue("old", run("x"));
  store.enqueue("new", run("x"));
  EXPECT_FALSE(store.claim("old", worker)) << "nobody asks for it any more";
  EXPECT_TRUE(store.claim("new", worker));
  const auto results = ResultStore::open(path_);
  ASSERT_EQ(results.runs().size(), 1u);
  EXPECT_EQ(results.runs()[0].id, "new");
  EXPECT_EQ(results.runs(true).size(), 2u);
  EXPECT_EQ(results.status().queued, 0);
  EXPECT_EQ(results.export_csv().find(",mxq,old,"), std::string::npos);
  EXPECT_NE(results.export_csv(true).find(",mxq,old,"), std::string::npos);
  // The spec as it was before: the earlier run again.
  store.enqueue("old", run("x"));
  EXPECT_EQ(results.runs()[0].id, "old");
  // Names change places: both stay.
  store.enqueue("other", run("y"));
  store.enqueue("old", run("y"));
  store.enqueue("other", run("x"));
  EXPECT_EQ(results.runs().size(), 2u);
}

TEST_F(Store, RunsOfDeadProcessesGoBackToTheQueue) {
  { StoreConnection store(path_, Access::create); }
  const pid_t child = ::fork();
  if (child == 0) {
    StoreConnection store(path_, Access::write);
    const WorkerFolder folder(store.work_folder());
    store.enqueue("a", run("a"));
    store.claim("a", store.register_worker(folder));
    std::ofstream(folder.path() / "half a checkpoint");
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  StoreConnection store(path_, Access::write);
  const WorkerFolder folder(store.work_folder());
  const auto worker = store.register_worker(folder);
  store.enqueue("b", run("b"));
  store.claim("b", worker);
  EXPECT_EQ(store.state("a"), RunState::running);
  EXPECT_EQ(ResultStore::open(path_).status().running, 1) << "who only looks sees that the other has ended";
  EXPECT_EQ(ResultStore::open(path_).status().queued, 1);
  store.release_dead();
  EXPECT_EQ(store.state("a"), RunState::queued);
  EXPECT_EQ(store.state("b"), RunState::running) << "this process lives";
  EXPECT_EQ(store.live_workers(), std::set<int64_t>{worker});
  EXPECT_EQ(std::distance(fs::directory_iterator(store.work_folder()), fs::directory_iterator()), 1)
      << "what the dead one wrote is gone";
}

TEST_F(Store, NumbersOfProcessesMeanNothing) {
  // Another worker of this very process number: only the lock tells that it is gone.
  StoreConnection store(path_, Access::create);
  store.enqueue("a", run("a"));
  {
    const WorkerFolder folder(store.work_folder());
    store.claim("a", store.register_worker(folder));
    EXPECT_FALSE(worker_ended(folder.path()));
    store.release_dead();
    EXPECT_EQ(store.state("a"), RunState::running);
  }
  store.release_dead();
  EXPECT_EQ(store.state("a"), RunState::queued);
  EXPECT_FALSE(fs::exists(store.work_folder()));
}

TEST_F(Store, WhoHasLostARunCannotEndIt) {
  StoreConnection store(path_, Access::create);
  const WorkerFolder first(store.work_folder()), second(store.work_folder());
  const auto lost = store.register_worker(first), worker = store.register_worker(second);
  store.enqueue("a", run("a"));
  ASSERT_TRUE(store.claim("a", worker));
  EXPECT_FALSE(store.finish("a", lost, {{{"kl.t", 1}}, {}, ""}));
  EXPECT_FALSE(store.fail("a", lost, "why", ""));
  EXPECT_EQ(store.state("a"), RunState::running);
  EXPECT_TRUE(store.finish("a", worker, {{{"kl.t", 2}}, {}, ""}));
  EXPECT_EQ(ResultStore::open(path_).runs()[0].metrics.at("kl.t"), 2);
}

TEST_F(Store, OthersAreRefused) {
  expect_error(ErrorCode::not_found, "store.db", [&] { ResultStore::open(path_); });
  std::ofstream(path_) << std::string(5000, 'x');
  expect_error(ErrorCode::invalid_file, "not a database", [&] { ResultStore::create(path_); });
  fs::remove(path_);
  { Database(path_, Access::create).execute("CREATE TABLE other(x)"); }
  const std::string before = read_file(path_);
  expect_error(ErrorCode::invalid_file, "a database of another program", [&] { ResultStore::create(path_); });
  EXPECT_EQ(read_file(path_), before) << "nothing is changed";
  fs::remove(path_);
  { ResultStore::create(path_); }
  { Database(path_, Access::write).execute("PRAGMA user_version = 7"); }
  expect_error(ErrorCode::unsupported, "version 7; expected version 2", [&] { ResultStore::open(path_); });
}

TEST_F(Store, DamageIsSaid) {
  {
    StoreConnection store(path_, Access::create);
    for (int i = 0; i < 500; ++i) store.enqueue(std::to_string(i), run(std::to_string(i)));
  }
  // All pages but the first, which says what the file is.
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(fs::file_size(path_) - 4096, '\xff');
  file.close();
  expect_error(ErrorCode::invalid_file, "malformed", [&] { ResultStore::open(path_).runs(); });
}

TEST_F(Store, CsvOfTheAuthors) {
  MXQ_NEEDS_SHARED_DATA("mxq-paper/combined.csv");
  const fs::path csv = shared_data("mxq-paper/combined.csv");
  auto store = ResultStore::create(path_);
  EXPECT_EQ(store.add(read_results(read_file(csv), "combined.csv")), 692);
  EXPECT_EQ(store.add(read_results(read_file(csv), "combined.csv")), 0) << "known already";
  const auto runs = store.runs();
  EXPECT_EQ(runs[0].method, "mxq kurt-scaled");
  EXPECT_EQ(runs[0].config, "3_97");
  EXPECT_EQ(runs[0].metrics.at("perplexity.wikitext"), 5.4023);
  EXPECT_EQ(runs[0].metrics.at("file_bytes"), 3.69 * 0x1p30);
  const std::string out = store.export_csv();
  EXPECT_TRUE(
      out.starts_with("model,algo,config,bpp,attempt,ppl_wikitext,ppl_c4,load_mem_allot,model_storage_size,"
                      "quant_duration,param_count,source,id,version,state,"));
  EXPECT_NE(out.find("\nLlama-2-7b-hf,mxq,3_97,3.97,kurt-scaled,5.4023,7.2641,3.72,3.69,"), std::string::npos);
  EXPECT_EQ(store.status().done, 0) << "of mxq's own";
}

TEST_F(Store, AnExportReadBackIsTheSame) {
  auto store = ResultStore::create(path_);
  store.add(read_results("model,algo,config,attempt,bpp,load_mem_allot\nm,a,c,kurt,3.1,0.3\n", "theirs.csv"));
  {
    StoreConnection connection(path_, Access::write);
    const WorkerFolder folder(connection.work_folder());
    const auto worker = connection.register_worker(folder);
    for (const char* id : {"d", "f", "q"}) connection.enqueue(id, run(id));
    connection.claim("d", worker);
    connection.finish("d", worker, {{{"kl.t", 0.1}, {"perplexity.wikitext2", 7}, {"x.acc,none", 1}}, {}, ""});
    connection.claim("f", worker);
    connection.fail("f", worker, "why", "");
  }
  const std::string out = store.export_csv();
  auto copy = ResultStore::create(folder_ / "copy.db");
  EXPECT_EQ(copy.add(read_results(out, "ours.csv")), 4);
  const auto before = store.runs(), after = copy.runs();
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < after.size(); ++i) {
    EXPECT_EQ(after[i].label(), before[i].label());
    EXPECT_EQ(after[i].attempt, before[i].attempt);
    EXPECT_EQ(after[i].state, before[i].state);
    EXPECT_EQ(after[i].metrics, before[i].metrics);
    EXPECT_EQ(after[i].version, before[i].version);
    EXPECT_EQ(after[i].source, "ours.csv");
  }
}

TEST_F(Store, TimeLeftFollowsEstimates) {
  StoreConnection store(path_, Access::create);
  const WorkerFolder folder(store.work_folder());
  const auto worker = store.register_worker(folder);
  store.enqueue("done", run("done", 10));
  store.enqueue("next", run("next", 40));
  EXPECT_DOUBLE_EQ(store.seconds_left(), 50) << "as estimated, so far";
  store.claim("done", worker);
  store.finish("done", worker, {});
  // It took half of what was expected.
  store.database.execute("UPDATE runs SET started = 100, finished = 105 WHERE id = 'done'");
  EXPECT_DOUBLE_EQ(store.seconds_left(), 20);
  EXPECT_DOUBLE_EQ(ResultStore::open(path_).status().eta_seconds, 20);
  store.enqueue("unknown", run("unknown"));
  EXPECT_DOUBLE_EQ(store.seconds_left(), 25) << "as long as the others took";
  const WorkerFolder another(store.work_folder());
  store.register_worker(another);
  EXPECT_DOUBLE_EQ(ResultStore::open(path_).status().eta_seconds, 12.5) << "two workers";
}

TEST(Results, BadCsv) {
  const auto reading = [](const char* csv) { return [csv] { read_results(csv, "x.csv"); }; };
  expect_error(ErrorCode::invalid_file, "column 'algo': the column is missing", reading("model,config\nm,c\n"));
  expect_error(ErrorCode::invalid_file, "line 3, column 'bpp': 'many'; expected a number",
               reading("model,algo,config,bpp\nm,a,c,1\nm,a,d,many\n"));
  expect_error(ErrorCode::invalid_file, "line 2: 2 cells; expected 3", reading("model,algo,config\nm,a\n"));
  expect_error(ErrorCode::invalid_file, "column 'state': 'maybe'; expected queued",
               reading("model,algo,config,state\nm,a,c,maybe\n"));
  expect_error(ErrorCode::invalid_file, "column 'attempts': '1e300'; expected a whole number",
               reading("model,algo,config,state,attempts\nm,a,c,done,1e300\n"));
}

TEST_F(Store, CellsOfAnyText) {
  auto store = ResultStore::create(path_);
  EXPECT_EQ(store.add(read_results("model,algo,config,bpp\n\"a,b\",\"q\"\"\",c,\n", "x.csv")), 1);
  EXPECT_NE(store.export_csv().find("\n\"a,b\",\"q\"\"\",c,,"), std::string::npos);
}

}  // namespace
}  // namespace mxq
