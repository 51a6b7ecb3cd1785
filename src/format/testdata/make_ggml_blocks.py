#!/usr/bin/env python3
"""Prints ggml_blocks_golden.h: random blocks and what the `gguf` package (pip, 0.19.0) dequantizes them to.

    python3 make_ggml_blocks.py > ggml_blocks_golden.h

Block bytes are uniformly random but for the fp16 d and m, which are random bit patterns of finite numbers (every
exponent, subnormals among them), so that codes, nibble order, high bits and signs all count. The values are printed as
the bits of fp32.
"""
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

BLOCKS = 4
TYPES = {"Q4_0": 1, "Q4_1": 2, "Q5_0": 1, "Q5_1": 2, "Q8_0": 1}  # and the fp16 numbers that head a block


def numbers(values, form):
    return ", ".join(form.format(v) for v in values)


def main():
    rng = np.random.default_rng(20240601)
    print("// Made by make_ggml_blocks.py with the pip package gguf; do not edit.")
    print("#pragma once\n")
    print("#include <array>\n#include <cstdint>\n#include <vector>\n")
    print('#include "mxq/tensor.h"\n')
    print("// clang-format off")
    print("struct GgmlBlocksGolden {\n  mxq::DType dtype;\n  std::vector<uint8_t> bytes;\n  std::vector<uint32_t> f32_bits;\n};\n")
    print("inline const std::array<GgmlBlocksGolden, %d> kGgmlBlocksGolden{{" % len(TYPES))
    for name, halves in TYPES.items():
        kind = GGMLQuantizationType[name]
        size = GGML_QUANT_SIZES[kind][1]
        blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
        heads = rng.integers(0, 0x7C00, (BLOCKS, halves), dtype=np.uint16)
        heads[0] &= 0x03FF  # subnormal
        heads |= rng.integers(0, 2, heads.shape, dtype=np.uint16) << 15
        blocks[:, : 2 * halves] = heads.view(np.uint8)
        values = quants.dequantize(blocks.reshape(-1), kind).astype(np.float32)
        assert values.size == BLOCKS * 32
        print("  {mxq::DType::%s," % name.lower())
        print("   {%s}," % numbers(blocks.reshape(-1), "{}"))
        print("   {%s}}," % numbers(values.reshape(-1).view(np.uint32), "0x{:x}"))
    print("}};\n// clang-format on")


if __name__ == "__main__":
    main()
