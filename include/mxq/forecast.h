// What a job will take, said before it begins, and whether the machine has it.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "mxq/evaluate.h"
#include "mxq/generate.h"
#include "mxq/method.h"
#include "mxq/model.h"
#include "mxq/plan_file.h"
#include "mxq/run_options.h"

namespace mxq {

struct Forecast {
  double seconds = 0;
  int64_t memory_bytes = 0;  // the most at a time
  int64_t disk_bytes = 0;    // likewise, where the output goes

  /// What comes after it, while what this leaves on disk stays there.
  Forecast& operator+=(const Forecast& next);
};

/// What this machine does now, on threads() threads.
struct MachineSpeed {
  /// Rows that are multiplied with a matrix at once: one of a text that is generated, some of texts that are sampled
  /// together, many of a text that is there.
  static constexpr std::array<int64_t, 3> kRows{1, 48, 768};
  struct Products {
    std::array<double, 3> seconds{};  // a weight, with so many rows
    /// Between those in proportion.
    double of(int64_t rows) const;
    /// A floating point operation of a product with many rows.
    double operation() const { return seconds[2] / (2.0 * kRows[2]); }
  };
  Products f32, bf16;    // bf16 is f32 where the processor has none
  double read_byte = 0;  // of memory, so much that no core keeps it
  double measured = 0;   // a weight: its errors in all schemes of a method
  const Products& of(Compute compute) const { return compute == Compute::bf16 ? bf16 : f32; }
};
/// Reads and multiplies matrices of a few MB and fits a small one, for some 50 ms. What has been measured before is
/// remembered.
MachineSpeed measure_speed();
/// MachineSpeed::measured too.
MachineSpeed measure_speed(const Method& method);

/// A text that models are scored on.
struct ScoredText {
  int64_t tokens = 0;         // that pass through a model, those of overlapping windows as often as they do
  int64_t predictions = 0;    // that count: each has logits
  int64_t window = 1024;      // tokens that the model sees at a time
  int64_t sampled_rows = 0;   // texts that the model samples first, together; 0: the text is there
  bool against = false;       // two models are run
  bool known_logits = false;  // but the base's logits are there already
  bool keeps_logits = false;  // or are kept in a file
};
/// A text of so many bytes, cut as the options say; its tokens are guessed.
ScoredText text_of_bytes(int64_t bytes, const PerplexityOptions& options);
/// Text that a model samples.
ScoredText sampled_text(const SelfText& text);

enum class Job {
  measure,
  plan,
  quantize,
};

/// Of a job with nothing in the cache. Reads headers only. The work is counted from the model's own matrices, for the
/// budget, trials included, and divided by the speed: within a factor of two where the machine stays as busy as it is
/// and the files are in memory already. Throws what bytes_for_matrices() throws. `trial_text`: what trials are made on;
/// nullopt: text that the model samples.
Forecast forecast(const Model& model, const MethodRequest& request, const Method& method, Job job,
                  const MachineSpeed& speed, const std::optional<ScoredText>& trial_text = {});

/// Of carrying out a plan. Throws Error(usage) where it was made for another model.
Forecast forecast(const Model& model, const PlanFile& plan, const MachineSpeed& speed);

/// Of `mxq eval`; `base` is what the text is sampled from, and the same model where there is no other.
Forecast forecast_evaluation(const Model& model, const Model& base, const ScoredText& text, const RunOptions& run,
                             const MachineSpeed& speed);

/// A prompt of so many tokens and a text of `tokens` behind it.
Forecast forecast_generation(const Model& model, int64_t prompt, int64_t tokens, const RunOptions& run,
                             const MachineSpeed& speed);

/// What there is; nullopt where the system does not say.
struct Room {
  std::filesystem::path folder;              // where files go
  std::optional<int64_t> memory_bytes;       // of the machine, or of the control group
  std::optional<int64_t> free_memory_bytes;  // of it, that nobody uses
  std::optional<int64_t> disk_bytes;         // free in `folder`

  /// Whether its memory does; true where nobody knows how much there is.
  bool holds(const Forecast& needs) const { return !memory_bytes || needs.memory_bytes <= *memory_bytes; }
};
/// Of this machine, for an output at `path` (its nearest folder that is there); an empty path: no output.
Room room_at(const std::filesystem::path& path);

/// What a job needs as it will run: where the room has not the memory that `job` says, and has it when the model runs
/// packed, that is what it does from here on (Model::run_packed()).
Forecast fit_into(const Room& room, const Model& model, const std::function<Forecast()>& job);

/// Throws Error(infeasible) naming what is needed and what there is. `what` is done, "quantize"; `given` the subject
/// ("this", "run 'x'"); `instead`, where it is not empty, is an option that would fit into memory.
void check_room(std::string_view what, std::string_view given, const Forecast& needs, const Room& room,
                const std::string& instead = {});

/// The option that makes a job fit into memory where its forecast does not: "--objective rel --fit mse"; empty where
/// none does.
std::string smaller_method(const Model& model, const MethodRequest& request, Job job, const Room& room);

/// "about 3 min and 1.2 GiB of memory; 90 MiB on disk".
std::string describe(const Forecast& forecast);

}  // namespace mxq
