#include "export/target.h"

#include <fmt/format.h>

#include <utility>

#include "mxq/error.h"

namespace mxq {

std::span<const Target* const> targets() {
  static const Target* const all[] = {&mxq_target(),  &gguf_target(), &mlx_target(), &compressed_tensors_target(),
                                      &gptq_target(), &awq_target(), &onnx_target()};
  return all;
}

void Target::refuse(std::string_view option, std::string_view given, std::string allowed) const {
  throw Error(ErrorCode::usage, std::string(option), fmt::format("{} for the format {}", given, name()),
              std::move(allowed));
}

const Target& find_target(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Target* target : targets()) {
    if (target->name() == name) return *target;
    names.push_back(target->name());
  }
  throw Error(ErrorCode::usage, "format", fmt::format("'{}'", name), fmt::format("{}", fmt::join(names, ", ")));
}

}  // namespace mxq
