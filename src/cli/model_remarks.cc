#include "cli/model_remarks.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace mxq::cli {

void say_remarks(const Model& model) {
  for (const auto& note : model.notes()) spdlog::warn("{}", note);
  if (!spdlog::should_log(spdlog::level::info)) return;
  const auto unknown = model.unknown_fields();
  if (unknown.empty()) return;
  spdlog::info("fields of the model's configuration that are not known and not honoured: {}", fmt::join(unknown, ", "));
}

}  // namespace mxq::cli
