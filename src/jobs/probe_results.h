// From what probes cost to the sensitivities of an error table.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "mxq/error_table.h"

namespace mxq {

/// Of one matrix, probed alone.
struct ProbeResult {
  double kl = 0;             // of the model's outputs, nats a token; NaN: they are not numbers
  double squared_error = 0;  // ||W - Q||_F^2
};

/// Sets the sensitivity of each matrix of the table: what its probe cost over its squared error. Where that is unknown,
/// because the probe's outputs are not numbers or because it changed nothing, it is the largest of all. Of matrices
/// whose outputs are not numbers the probe's scheme and those of as large an error leave the table (but for the one of
/// the least error); their names are returned. `results`: by matrix, for all.
std::vector<std::string> set_sensitivities(ErrorTable& table, const std::map<std::string, ProbeResult>& results,
                                           const std::string& probe);

}  // namespace mxq
