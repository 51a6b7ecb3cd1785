#include "mxq/calibration.h"

#include <fmt/format.h>

#include <utility>

#include "base/named.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr Named<Calibration::Text> kTexts[] = {
    {"none", Calibration::Text::none}, {"self", Calibration::Text::self}, {"file", Calibration::Text::file}};

}  // namespace

std::string_view calibration_text_name(Calibration::Text text) {
  return name_of(kTexts, text);
}
Calibration::Text parse_calibration_text(std::string_view name) {
  return parse_named(kTexts, "calibration text", name);
}

void check_calibration(const Calibration& calibration, const QuantizeOptions& options) {
  const auto refuse = [](std::string given, std::string supported) {
    throw Error(ErrorCode::usage, "calibrate", std::move(given), std::move(supported));
  };
  if (calibration.text == Calibration::Text::none) {
    if (options.fit == Fit::gptq) refuse("fit gptq without a text", "self or a file");
    return;
  }
  if (options.fit != Fit::gptq && options.fit != Fit::mse) {
    refuse(fmt::format("fit {}", fit_name(options.fit)), "gptq and mse; others look at weights alone");
  }
  if (options.axis != 1) refuse(fmt::format("axis {}", options.axis), "1");
  if (calibration.sequences < 1 || calibration.tokens < 1) {
    refuse(fmt::format("{} sequences of {} tokens", calibration.sequences, calibration.tokens), "at least 1 of each");
  }
  if (calibration.text == Calibration::Text::file && calibration.file.empty()) refuse("a file without name", "a path");
}

}  // namespace mxq
