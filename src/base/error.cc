#include "mxq/error.h"

#include <utility>

namespace mxq {

namespace {

std::string one_line(const std::string& operation, const std::string& given, const std::string& supported) {
  std::string text = operation + ": " + given;
  if (!supported.empty()) text += "; " + supported;
  // Names and values from files may hold anything; the message stays one printable line.
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

Error::Error(ErrorCode code, std::string operation, std::string given, std::string supported)
    : std::runtime_error(one_line(operation, given, supported)),
      code_(code),
      operation_(std::move(operation)),
      given_(std::move(given)),
      supported_(std::move(supported)) {}

}  // namespace mxq
