// The one error type of the library.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace mxq {

enum class ErrorCode {
  usage,         // a flag or argument that makes no sense
  not_found,     // a file, tensor or scheme that is not there
  io,            // the operating system refused (permissions, full disk)
  invalid_file,  // bytes that break their format's rules
  unsupported,   // valid, but nothing that mxq can work with
  infeasible,    // a budget that no plan can meet
  not_finite,    // NaN or infinity where a number must be
};

/// Thrown for everything that goes wrong. The library never prints, exits or aborts.
/// what() is one printable line: "operation: what was given; expected what is allowed" (the last part only where there
/// is one).
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string operation, std::string given, std::string supported = {});

  ErrorCode code() const noexcept { return code_; }
  /// What was being done, e.g. "read model.safetensors".
  const std::string& operation() const noexcept { return operation_; }
  /// What was found, with its value, e.g. "tensor 'w' has dtype F4".
  const std::string& given() const noexcept { return given_; }
  /// What would have been right, to be read behind "expected", e.g. "F32, F16 or BF16"; may be empty.
  const std::string& supported() const noexcept { return supported_; }

 private:
  ErrorCode code_;
  std::string operation_, given_, supported_;
};

}  // namespace mxq
