#include "mxq/error.h"

#include <utility>

#include "mxq/text.h"

namespace mxq {

namespace {

std::string one_line(const std::string& operation, const std::string& given, const std::string& allowed) {
  std::string text = operation + ": " + given;
  if (!allowed.empty()) text += "; expected " + allowed;
  return printable(text);  // names and values from files may hold anything
}

}  // namespace

Error::Error(ErrorCode code, std::string operation, std::string given, std::string supported)
    : std::runtime_error(one_line(operation, given, supported)),
      code_(code),
      operation_(std::move(operation)),
      given_(std::move(given)),
      supported_(std::move(supported)) {}

}  // namespace mxq
