#!/usr/bin/env python3
"""Prints ggml_grids.cc: the grids of GGUF's IQ1, IQ2 and IQ3 types, taken from the pip package gguf (0.19.0).

    python3 make_ggml_grids.py > ggml_grids.cc

The numbers are part of the file format: a block names entries of them. An entry is printed as the places of its
values in the grid's own short list, lowest bits first, 2 bits a value in entries of eight and 4 in entries of four.
"""
import numpy as np
from gguf import quants

# name here, class of the package, what a value of the list becomes, and why
GRIDS = [
    ("kIq2XxsGrid", quants.IQ2_XXS, lambda v: v),
    ("kIq2XsGrid", quants.IQ2_XS, lambda v: v),
    ("kIq2SGrid", quants.IQ2_S, lambda v: v),
    ("kIq3XxsGrid", quants.IQ3_XXS, lambda v: v),
    ("kIq3SGrid", quants.IQ3_S, lambda v: v),
    ("kIq1Grid", quants.IQ1_S, lambda v: 8 * (v + 1)),
]
HEAD = """// Made by make_ggml_grids.py from the pip package gguf; do not edit.
#include "format/ggml_grids.h"

#include <cstddef>

namespace mxq {

namespace {

/// Entries as numbers whose bytes are the values, first value lowest. `packed` holds places in `values`.
template <typename Entry, size_t kEntries, size_t kValues>
constexpr std::array<Entry, kEntries> spread(const uint16_t (&packed)[kEntries], const uint8_t (&values)[kValues]) {
  constexpr unsigned per_entry = sizeof(Entry), bits = 16 / per_entry;
  std::array<Entry, kEntries> grid{};
  for (size_t i = 0; i < kEntries; ++i) {
    for (unsigned k = 0; k < per_entry; ++k) {
      grid[i] |= static_cast<Entry>(values[packed[i] >> (bits * k) & ((1u << bits) - 1)]) << (8 * k);
    }
  }
  return grid;
}

// clang-format off"""


def main():
    print(HEAD)
    for name, kind, _ in GRIDS:
        kind.init_grid()
        entries, width = kind.grid_shape
        places = np.searchsorted(np.array(kind.grid_map), kind.grid.reshape(entries, width)).astype(np.uint32)
        assert (np.array(kind.grid_map)[places] == kind.grid.reshape(entries, width)).all()
        bits = 16 // width
        packed = sum(places[:, k] << np.uint32(bits * k) for k in range(width))
        print(f"constexpr uint16_t {name}Places[] = {{")
        for first in range(0, entries, 16):
            print("  " + " ".join(f"{v}," for v in packed[first:first + 16]))
        print("};")
    print("// clang-format on\n")
    print("}  // namespace\n")
    for name, kind, value in GRIDS:
        entries, width = kind.grid_shape
        values = ", ".join(str(value(v)) for v in kind.grid_map)
        entry = f"uint{8 * width}_t"
        print(f"constexpr uint8_t {name}Values[] = {{{values}}};")
        print(f"constexpr std::array<{entry}, {entries}> {name} = spread<{entry}>({name}Places, {name}Values);")
    print("\n}  // namespace mxq")


if __name__ == "__main__":
    main()
