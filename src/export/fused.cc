#include "export/fused.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/arch/architecture.h"
#include "mxq/error.h"

namespace mxq {

void check_fused(const ModelSource& model, const std::map<std::string, std::string>& schemes,
                 const std::vector<std::string_view>& ties, const std::string& operation) {
  const auto scheme_of = [&](const std::string& name) {
    const auto found = schemes.find(name);
    return found == schemes.end() ? std::string("16 bits") : found->second;
  };
  for (const FusedModules& fused : fused_modules()) {
    if (std::find(ties.begin(), ties.end(), fused.name) == ties.end()) continue;
    std::map<std::string, std::string> first;  // by what stands before the module: the name of the first
    for (const SourceTensor& tensor : model.tensors()) {
      if (!tensor.matrix || tensor.role != TensorRole::matrix) continue;
      const std::string name = tensor.matrix_name();
      const size_t dot = name.rfind('.');
      if (dot == std::string::npos || std::find(fused.modules.begin(), fused.modules.end(),
                                                std::string_view(name).substr(dot + 1)) == fused.modules.end()) {
        continue;
      }
      const std::string& other = first.try_emplace(name.substr(0, dot), name).first->second;
      if (scheme_of(name) == scheme_of(other)) continue;
      throw Error(ErrorCode::usage, operation,
                  fmt::format("'{}' in {} and '{}' in {}", other, scheme_of(other), name, scheme_of(name)),
                  "one scheme for modules that the runtime fuses");
    }
  }
}

}  // namespace mxq
