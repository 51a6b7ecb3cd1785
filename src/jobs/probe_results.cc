#include "jobs/probe_results.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "mxq/error.h"

namespace mxq {

namespace {

void exclude(std::vector<SchemeCost>& schemes, const std::string& probe) {
  const auto found = std::find_if(schemes.begin(), schemes.end(), [&](const auto& s) { return s.scheme == probe; });
  if (found == schemes.end()) return;
  const double limit = found->fnorm;
  const SchemeCost least =
      *std::min_element(schemes.begin(), schemes.end(), [](const auto& a, const auto& b) { return a.fnorm < b.fnorm; });
  std::erase_if(schemes, [&](const SchemeCost& s) { return s.fnorm >= limit; });
  if (schemes.empty()) schemes.push_back(least);
}

}  // namespace

std::vector<std::string> set_sensitivities(ErrorTable& table, const std::map<std::string, ProbeResult>& results,
                                           const std::string& probe) {
  double largest = 0;
  for (MatrixErrors& matrix : table.matrices) {
    const auto& [kl, squared_error] = results.at(matrix.name);
    if (!std::isfinite(kl) || squared_error == 0) continue;
    matrix.sensitivity = kl / squared_error;
    largest = std::max(largest, matrix.sensitivity);
  }
  std::vector<std::string> not_finite;
  for (MatrixErrors& matrix : table.matrices) {
    const auto& [kl, squared_error] = results.at(matrix.name);
    if (!std::isfinite(kl) || squared_error == 0) matrix.sensitivity = largest;
    if (std::isfinite(kl)) continue;
    exclude(matrix.schemes, probe);
    not_finite.push_back(matrix.name);
  }
  if (!not_finite.empty() && not_finite.size() == table.matrices.size()) {
    throw Error(ErrorCode::not_finite, "measure sensitivity",
                fmt::format("{} in place of any of {} matrices gives NaN or infinity", probe, not_finite.size()),
                "a model that at least one of them leaves with finite outputs");
  }
  return not_finite;
}

}  // namespace mxq
