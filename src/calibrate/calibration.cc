#include "mxq/calibration.h"

#include <fmt/format.h>

#include <utility>

#include "base/named.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr Named<CalibrationText::Kind> kTexts[] = {{"none", CalibrationText::Kind::none},
                                                   {"self", CalibrationText::Kind::self},
                                                   {"file", CalibrationText::Kind::file}};

}  // namespace

std::string_view calibration_text_name(CalibrationText::Kind kind) {
  return name_of(kTexts, kind);
}
CalibrationText::Kind parse_calibration_text(std::string_view name) {
  return parse_named(kTexts, "calibration text", name);
}

FitMethod parse_fit_method(std::string_view name) {
  FitMethod method;
  if (name == "sinq") {
    method.fit = Fit::rtn;
    method.normalize = Normalize::sinq;
    return method;
  }
  if (name == "autogptq") {
    return {Fit::gptq,
            Normalize::none,
            Metadata::f16,
            ColumnOrder::diagonal,
            ZeroPoint::symmetric,
            TokenWeighting::even,
            0.0,
            0.0,
            0};
  }
  try {
    method.fit = parse_fit(name);
  } catch (const Error& e) {
    throw Error(e.code(), e.operation(), e.given(), e.supported() + ", sinq, autogptq");
  }
  return method;
}

void check_calibration(const CalibrationText& calibration, const QuantizeOptions& options) {
  const auto refuse = [](std::string given, std::string supported) {
    throw Error(ErrorCode::usage, "calibrate", std::move(given), std::move(supported));
  };
  if (calibration.kind == CalibrationText::Kind::none) {
    if (options.fit == Fit::gptq || options.fit == Fit::awq) {
      refuse(fmt::format("fit {} without a text", fit_name(options.fit)), "self or a file");
    }
    return;
  }
  if (options.fit != Fit::gptq && options.fit != Fit::mse && options.fit != Fit::awq) {
    refuse(fmt::format("fit {}", fit_name(options.fit)), "gptq, awq and mse; others look at weights alone");
  }
  if (options.fit == Fit::awq && options.normalize != Normalize::none) {
    refuse(fmt::format("fit awq with normalization {}", normalize_name(options.normalize)),
           "none; it has channel scales of its own");
  }
  if (options.axis != 1) refuse(fmt::format("axis {}", options.axis), "1");
  constexpr int64_t kMost = int64_t{1} << 24;  // memory ends long before
  if (calibration.sequences < 1 || calibration.tokens < 1 || calibration.sequences > kMost ||
      calibration.tokens > kMost) {
    refuse(fmt::format("{} sequences of {} tokens", calibration.sequences, calibration.tokens), "1 to 2^24 of each");
  }
  if (!(options.feedback.damping >= 0 && options.feedback.damping <= 100)) {
    refuse(fmt::format("a damping of {}", options.feedback.damping), "0 to 100 mean diagonals");
  }
  if (calibration.kind == CalibrationText::Kind::file && calibration.file.empty())
    refuse("a file without name", "a path");
}

}  // namespace mxq
