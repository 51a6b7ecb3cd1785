#include "schemes/codebook/lloyd_max.h"

#include <array>
#include <cstddef>

namespace mxq::codebook {

namespace {

/// The upper halves: the means of the cells between their midpoints, in fp32. Written out, as checkpoints mean them
/// whatever a machine's erfc says.
const std::array<std::vector<float>, 5> kUpper{{
    {},
    {0.797884583f},
    {0.452780038f, 1.51041758f},
    {0.24509418f, 0.756005287f, 1.34390926f, 2.15194559f},
    {0.128395036f, 0.388048291f, 0.656759143f, 0.942340434f, 1.25623119f, 1.6180464f, 2.06901717f, 2.73258948f},
}};

}  // namespace

const std::vector<float>& lloyd_max_levels(int bits) {
  static const auto all = [] {
    auto levels = kUpper;
    for (auto& both : levels) {
      const std::vector<float> upper = both;
      for (std::size_t i = 0; i < upper.size(); ++i) both[i] = -upper[upper.size() - 1 - i];
      both.insert(both.end(), upper.begin(), upper.end());
    }
    return levels;
  }();
  return all.at(static_cast<size_t>(bits));
}

}  // namespace mxq::codebook
