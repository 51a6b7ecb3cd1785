#include "cli/report_coverage.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "cli/standard_streams.h"

namespace mxq::cli {

nlohmann::ordered_json coverage_json(const Coverage& coverage) {
  nlohmann::ordered_json left = nlohmann::ordered_json::array();
  for (const LeftOut& part : coverage.left) {
    left.push_back({{"reason", left_reason_name(part.reason)},
                    {"tensors", part.tensors},
                    {"weights", part.weights},
                    {"example", part.example},
                    {"dtype", part.dtype}});
  }
  return {{"weights", coverage.weights},
          {"planned", coverage.planned},
          {"left_weights", coverage.left_weights()},
          {"left", left}};
}

void warn_of_coverage(const Coverage& coverage, bool bits) {
  if (100 * static_cast<double>(coverage.unexpected_weights()) <= static_cast<double>(coverage.weights)) return;
  spdlog::warn("{}{}", coverage.line(), bits ? "; --bits counts the planned matrices alone" : "");
}

void print_coverage(const Coverage& coverage) {
  if (!coverage.left.empty()) put("left       {}\n", coverage.line());
}

}  // namespace mxq::cli
