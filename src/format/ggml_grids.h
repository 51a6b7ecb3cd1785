// The grids of GGUF's IQ1, IQ2 and IQ3 types: magnitudes of eight or four neighbouring weights, which a block names by
// their place. Values of the file format; make_ggml_grids.py has their source.
#pragma once

#include <array>
#include <cstdint>

namespace mxq {

/// Byte k of an entry, lowest first, is the magnitude of weight k: 8, 25 or 43.
extern const std::array<uint64_t, 256> kIq2XxsGrid;
extern const std::array<uint64_t, 512> kIq2XsGrid;
extern const std::array<uint64_t, 1024> kIq2SGrid;
/// 4, 12, 20, ... 52 or 62; and 1, 3, ... 15.
extern const std::array<uint32_t, 256> kIq3XxsGrid;
extern const std::array<uint32_t, 512> kIq3SGrid;
/// 8 (v + 1) for the weights v of -1, 0, 1.
extern const std::array<uint64_t, 2048> kIq1Grid;

}  // namespace mxq
