#include "cli/model_remarks.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "mxq/model_remarks.h"

namespace mxq::cli {

void say_remarks(const std::string& model) {
  const ModelRemarks remarks = model_remarks(model);
  for (const auto& note : remarks.notes) spdlog::warn("{}", note);
  if (!remarks.unknown_fields.empty()) {
    spdlog::info("fields of the model's configuration that are not known and not honoured: {}",
                 fmt::join(remarks.unknown_fields, ", "));
  }
}

}  // namespace mxq::cli
