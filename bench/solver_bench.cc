// mxq's solver of the multiple-choice knapsack beside HiGHS: same problems, one run, answers compared before times.
//   bench_solver [--highs SECONDS] [--synthetic-highs SECONDS]
// give HiGHS that long on each problem of the authors' tables (120) and of the synthetic ones (0: not run there).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "allocate/constraints.h"
#include "allocate/highs.h"
#include "allocate/mckp.h"
#include "base/atomic_file.h"
#include "mxq/allocate.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace {

using namespace mxq;

// Answers count as equal within this part of the value: HiGHS's own tolerances are not finer.
constexpr double kEqual = 1e-7;

ErrorTable paper_table(const std::string& name) {
  const char* shared = std::getenv("MXQ_SHARED");
  const std::filesystem::path root = shared ? shared : std::filesystem::path(MXQ_SOURCE_DIR) / ".." / "shared";
  return read_error_table(read_file(root / "data" / "mxq-paper" / name), name);
}

struct Shape {
  std::string_view module;
  int64_t params;
};

/// A table of `layers` layers of the shapes given, its errors after the pattern of Llama-3-8B: per weight, the error
/// of the same module at the same relative depth (or, where `alike`, the mean over all depths), times
/// exp(noise * u), u uniform in [-1, 1] per matrix, and a tenth of that per scheme.
ErrorTable synthetic(const ErrorTable& pattern, const std::vector<Shape>& shapes, int layers, bool alike, double noise,
                     uint64_t seed) {
  std::map<std::string, std::vector<const MatrixErrors*>> by_module;
  for (const MatrixErrors& m : pattern.matrices) by_module[m.module].push_back(&m);
  std::mt19937_64 random(seed);
  const auto u = [&] { return static_cast<double>(random() >> 11) * 0x1p-52 - 1; };
  ErrorTable table;
  for (int layer = 0; layer < layers; ++layer) {
    for (const Shape& shape : shapes) {
      const auto& depths = by_module.at(std::string(shape.module));
      MatrixErrors m;
      m.layer = fmt::format("{}", layer);
      m.module = shape.module;
      m.name = m.layer + "." + m.module;
      m.params = shape.params;
      const double of_matrix = std::exp(noise * u());
      const MatrixErrors& near = *depths[static_cast<size_t>(layer) * depths.size() / static_cast<size_t>(layers)];
      for (size_t s = 0; s < near.schemes.size(); ++s) {
        double fnorm = near.schemes[s].fnorm;
        if (alike) {
          fnorm = 0;
          for (const MatrixErrors* d : depths) fnorm += d->schemes[s].fnorm / static_cast<double>(depths.size());
        }
        const double ratio = static_cast<double>(shape.params) / static_cast<double>(near.params);
        m.schemes.push_back({near.schemes[s].scheme,
                             static_cast<int64_t>(static_cast<double>(near.schemes[s].bytes) * ratio),
                             fnorm * std::sqrt(ratio) * of_matrix * std::exp(noise / 10 * u())});
      }
      table.matrices.push_back(std::move(m));
    }
  }
  return table;
}

std::vector<Shape> llama_shapes(int64_t hidden, int64_t kv, int64_t ffn) {
  return {{"self_attn.q_proj", hidden * hidden}, {"self_attn.k_proj", kv * hidden}, {"self_attn.v_proj", kv * hidden},
          {"self_attn.o_proj", hidden * hidden}, {"mlp.gate_proj", hidden * ffn},   {"mlp.up_proj", hidden * ffn},
          {"mlp.down_proj", hidden * ffn}};
}

mckp::Problem problem_of(const ErrorTable& table, Objective objective, double bits) {
  AllocateOptions options;
  options.objective = objective;
  double params = 0;
  for (const MatrixErrors& m : table.matrices) params += static_cast<double>(m.params);
  return make_problem(apply_constraints(table, options), static_cast<int64_t>(std::floor(bits * params / 8)));
}

/// Times are of the processor, not of the wall: both solvers run on one thread, and the machine may be busy.
template <typename Solve>
std::pair<mckp::Solution, double> timed(Solve solve, int times) {
  std::vector<double> ms;
  mckp::Solution solution;
  for (int i = 0; i < times; ++i) {
    const std::clock_t begin = std::clock();
    solution = solve();
    ms.push_back(1e3 * static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  std::sort(ms.begin(), ms.end());
  return {solution, ms[ms.size() / 2]};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

double gap(const mckp::Solution& s) {
  return s.value > 0 ? (s.value - s.lower_bound) / s.value : 0;
}

struct Totals {
  std::vector<double> ours, highs, ratios;
  int unequal = 0, unproved = 0, unfinished = 0;

  void row(const std::string& name, const ErrorTable& table, Objective objective, double bits, double highs_seconds) {
    const mckp::Problem problem = problem_of(table, objective, bits);
    const auto [own, own_ms] = timed([&] { return mckp::solve(problem); }, 5);
    ours.push_back(own_ms);
    unproved += !own.optimal();
    std::string line =
        fmt::format("{:<24} {:>4} {:>4} {:>5} {:>10.3f} {:>18.10g} {:>8.1e}", name, problem.classes.size(),
                    objective_name(objective), bits, own_ms, own.value, gap(own));
    if (highs_seconds > 0 && highs_available()) {
      try {
        const auto [peer, peer_ms] = timed([&] { return solve_with_highs(problem, highs_seconds); }, 1);
        const bool equal = std::abs(peer.value - own.value) <= kEqual * own.value;
        // An unfinished run counts for the time it was given, so its true ratio is larger.
        unfinished += !peer.optimal();
        line += fmt::format(" {:>11.1f} {:>9.0f}x {:>8.1e}  {}", peer_ms, peer_ms / own_ms, gap(peer),
                            equal                    ? "equal"
                            : peer.value > own.value ? fmt::format("ours better by {:.1e}", peer.value / own.value - 1)
                                                     : fmt::format("OURS WORSE by {:.1e}", 1 - peer.value / own.value));
        unequal += !equal;
        highs.push_back(peer_ms);
        ratios.push_back(peer_ms / own_ms);
      } catch (const Error& e) {
        line += fmt::format("  {}", e.what());
      }
    }
    fmt::print("{}\n", line);
    std::fflush(stdout);
  }

  void print(const char* what) const {
    fmt::print("{}: {} problems, ours median {:.3f} ms, largest {:.3f} ms, not proved optimal {}", what, ours.size(),
               median(ours), *std::max_element(ours.begin(), ours.end()), unproved);
    if (!ratios.empty()) {
      fmt::print(
          "; HiGHS median {:.1f} ms, ratio median {:.0f}x, least {:.0f}x; not finished {}; answers that differ {}",
          median(highs), median(ratios), *std::min_element(ratios.begin(), ratios.end()), unfinished, unequal);
    }
    fmt::print("\n\n");
  }
};

void run(double paper_highs, double synthetic_highs) {
  constexpr Objective objectives[] = {Objective::rel, Objective::f2, Objective::f};
  const std::string header = fmt::format("{:<24} {:>4} {:>4} {:>5} {:>10} {:>18} {:>8} {:>11} {:>10} {:>8}\n", "table",
                                         "N", "obj", "bits", "ours ms", "value", "gap", "HiGHS ms", "ratio", "gap");
  fmt::print("{}", header);
  const ErrorTable llama3 = paper_table("fnorm-Meta-Llama-3-8B.csv");
  const std::vector<std::pair<std::string, ErrorTable>> tables{{"Llama-2-7B", paper_table("fnorm-Llama-2-7b-hf.csv")},
                                                               {"Llama-3-8B", llama3}};
  Totals paper;
  for (const auto& [name, table] : tables) {
    for (const Objective objective : objectives) {
      for (const double bits : {3.07, 3.25, 4.25, 4.51, 5.72}) {
        paper.row(name, table, objective, bits, paper_highs);
      }
    }
  }
  paper.print("authors' tables");

  fmt::print("{}", header);
  Totals hard;
  for (const auto& [name, shapes, layers] : {std::tuple{"Llama-3-70B", llama_shapes(8192, 1024, 28672), 80},
                                             std::tuple{"Llama-3-405B", llama_shapes(16384, 1024, 53248), 126}}) {
    for (const bool alike : {false, true}) {
      for (const double noise : {0.0, 1e-4, 1e-2}) {
        const ErrorTable table = synthetic(llama3, shapes, layers, alike, noise, 1);
        const std::string label = fmt::format("{}{} {:g}", name, alike ? " alike" : "", noise);
        for (const Objective objective : objectives) {
          for (const double bits : {2.9, 5.72, 6.5}) hard.row(label, table, objective, bits, synthetic_highs);
        }
      }
    }
  }
  hard.print("synthetic tables");
}

}  // namespace

int main(int argc, char** argv) {
  double paper_highs = 120, synthetic_highs = 0;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view flag = argv[i];
    const auto seconds = i + 1 < argc ? parse_double(argv[i + 1]) : std::optional<double>{};
    if (!seconds || *seconds < 0 || (flag != "--highs" && flag != "--synthetic-highs")) {
      fmt::print(stderr, "usage: bench_solver [--highs SECONDS] [--synthetic-highs SECONDS]\n");
      return 2;
    }
    (flag == "--highs" ? paper_highs : synthetic_highs) = *seconds;
  }
  try {
    run(paper_highs, synthetic_highs);
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_solver: {}\n", e.what());
    return 1;
  }
  return 0;
}
