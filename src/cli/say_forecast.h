// What a command will take, said before it starts.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "mxq/forecast.h"

namespace mxq::cli {

/// Says what a job will take where that is more than a second, and warns where it is more memory than is free. Throws
/// Error(infeasible) where memory or the disk at `output` (empty: there is none) cannot hold it, as check_room().
void announce(const std::string& command, const Forecast& needs, const std::filesystem::path& output = {},
              const std::string& instead = {});

/// The forecast of a job on a model, announced; fit_into() the machine's memory, which is said.
Forecast announce_job(const std::string& command, const Model& model, const MethodRequest& request,
                      const Method& method, Job job, const std::filesystem::path& output = {},
                      const std::optional<ScoredText>& trial_text = {});

/// The same of a plan that is carried out.
Forecast announce_plan(const std::string& command, const Model& model, const PlanFile& plan,
                       const std::filesystem::path& output);

}  // namespace mxq::cli
