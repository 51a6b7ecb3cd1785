// The devices that run models.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "model/runner/cpu/cpu_runner.h"
#include "model/runner/runner.h"
#include "mxq/error.h"

namespace mxq {

namespace {

template <typename Of>
std::unique_ptr<Runner> make(const ModelSource& model, const RunOptions& options, Progress* progress) {
  return std::make_unique<Of>(model, options, progress);
}

struct Device {
  std::string_view name;  // RunOptions::device
  std::unique_ptr<Runner> (*make)(const ModelSource& model, const RunOptions& options, Progress* progress);
};

constexpr std::array kDevices{Device{"cpu", make<CpuRunner>}};

}  // namespace

std::unique_ptr<Runner> make_runner(const ModelSource& model, const RunOptions& options, Progress* progress) {
  for (const Device& device : kDevices) {
    if (device.name == options.device) return device.make(model, options, progress);
  }
  std::vector<std::string_view> names;
  for (const Device& device : kDevices) names.push_back(device.name);
  throw Error(ErrorCode::unsupported, "run " + model.path().string(), fmt::format("device '{}'", options.device),
              fmt::format("{}", fmt::join(names, ", ")));
}

std::vector<float> Runner::hidden(std::span<const int32_t> ids) {
  const Sequence sequence{ids};
  return hidden(std::span(&sequence, 1));
}

}  // namespace mxq
