#!/usr/bin/env python3
"""Writes ggml_blocks.bin: random blocks of each type and what the `gguf` package (pip, 0.19.0) dequantizes them to.

    python3 make_ggml_blocks.py

For each type: its name in 8 bytes, padded with zeros; u32 number of blocks; the blocks; their weights as fp32. The
bytes are uniformly random, but for fp16 scales, which are random bit patterns of finite numbers. The first block's
scales are subnormal; the second block's codes are all ones. gguf_blocks_peer.py makes many more blocks alike.
"""
import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

# Where the fp16 numbers of a block are. IQ1_M's is in the upper nibbles of four u16; MXFP4 has a power of two.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ1_S": [0], "IQ1_M": [], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
    "IQ4_NL": [0], "IQ4_XS": [0], "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [],
}


def random_blocks(rng, name, count):
    """uint8 [count, bytes of a block]."""
    size = GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if count > 1:
        blocks[1] = 255
    for at in HALVES[name] or [None]:
        halves = rng.integers(0, 0x7C00, count, dtype=np.uint16)
        halves[0] &= 0x03FF
        halves |= rng.integers(0, 2, count, dtype=np.uint16) << 15
        if name == "IQ1_M":
            for k in range(4):
                upper = blocks[:, 49 + 2 * k]
                upper[:] = (upper & 15) | ((halves >> (4 * k)) & 15).astype(np.uint8) << 4
        elif name == "MXFP4":
            blocks[0, 0] &= 1
        else:
            blocks[:, at:at + 2] = halves.reshape(-1, 1).view(np.uint8)
    return blocks


def weights_of(blocks, name):
    with np.errstate(all="ignore"):
        return quants.dequantize(blocks.reshape(-1), GGMLQuantizationType[name]).astype(np.float32).reshape(-1)


def main():
    rng = np.random.default_rng(20240601)
    with open(pathlib.Path(__file__).parent / "ggml_blocks.bin", "wb") as file:
        for name in HALVES:
            count = 3 if GGML_QUANT_SIZES[GGMLQuantizationType[name]][0] == 256 else 6
            blocks = random_blocks(rng, name, count)
            weights = weights_of(blocks, name)
            assert not np.isnan(weights).any(), name
            file.write(name.encode().ljust(8, b"\0") + np.uint32(count).tobytes() + blocks.tobytes() + weights.tobytes())


if __name__ == "__main__":
    main()
