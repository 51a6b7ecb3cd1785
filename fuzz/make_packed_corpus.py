#!/usr/bin/env python3
"""Writes the seed corpus corpus/packed_folder beside this file: quantized folders of a matrix each, good and broken.

A file is the "quantization_config" of config.json, a zero byte, and model.safetensors. Deterministic: a file's name says what it is, and
running this again changes nothing.
"""
import json
import pathlib
import random
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus/packed_folder"
MODULE = "model.layers.0.mlp.down_proj"  # 32 x 48 in packed_folder_fuzz.cc's configuration
SIZES = {"F16": 2, "BF16": 2, "F32": 4, "I32": 4}


def put(name, config, tensors):
    """`tensors`: by what stands behind the module's name, dtype, shape and bytes."""
    header, data = {}, b""
    for ending, (dtype, shape, values) in tensors.items():
        header[MODULE + ending] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header, separators=(",", ":")).encode()
    CORPUS.mkdir(parents=True, exist_ok=True)
    config = config if isinstance(config, bytes) else json.dumps(config, separators=(",", ":")).encode()
    (CORPUS / name).write_bytes(config + b"\0" + struct.pack("<Q", len(text)) + text + data)


def tensor(dtype, shape, rng):
    count = 1
    for extent in shape: count *= extent
    if dtype == "I32": return dtype, shape, rng.randbytes(4 * count)
    return dtype, shape, b"".join(struct.pack("<e" if dtype == "F16" else "<f", rng.uniform(0.01, 0.1)) for _ in range(count))


def gptq(bits, group, rng, rows=32, cols=48, scales="F16"):
    groups = -(-cols // group)
    return {".qweight": tensor("I32", [cols * bits // 32, rows], rng), ".qzeros": tensor("I32", [groups, rows * bits // 32], rng),
            ".scales": tensor(scales, [groups, rows], rng),
            ".g_idx": ("I32", [cols], struct.pack(f"<{cols}i", *(i // group for i in range(cols))))}


def awq(group, rng, rows=32, cols=48):
    return {".qweight": tensor("I32", [cols, rows // 8], rng), ".qzeros": tensor("I32", [cols // group, rows // 8], rng),
            ".scales": tensor("F16", [cols // group, rows], rng)}


def main():
    rng = random.Random(20261130)
    def said(bits=4, group=16, **more):
        return {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": False, "checkpoint_format": "gptq_v2", **more}
    awq_said = {"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm", "zero_point": True}
    for bits in (2, 3, 4, 8):
        cols = 64 if bits == 3 else 48
        put(f"gptq-b{bits}", said(bits), gptq(bits, 16, rng, cols=cols))
        put(f"gptq-b{bits}-version-1", said(bits, checkpoint_format="gptq"), gptq(bits, 16, rng, cols=cols))
        put(f"gptq-b{bits}-carries", said(bits, checkpoint_format="gptq", meta={"quantizer": ["gptqmodel:7.7.0"]}), gptq(bits, 16, rng, cols=cols))
    shuffled = gptq(4, 16, rng)
    groups = [i // 16 for i in range(48)]
    rng.shuffle(groups)
    put("gptq-shuffled", said(desc_act=True), shuffled | {".g_idx": ("I32", [48], struct.pack("<48i", *groups))})
    put("gptq-symmetric", said(sym=True), gptq(4, 16, rng))
    put("gptq-f32", said(), gptq(4, 16, rng, scales="F32"))
    put("gptq-whole-columns", said(group=-1), gptq(4, 48, rng))
    put("gptq-dynamic", said(8, dynamic={"+:.*down_proj$": {"bits": 4}, "-:.*q_proj": {}}), gptq(4, 16, rng))
    put("awq", awq_said, awq(16, rng))
    put("awq-whole-columns", awq_said | {"group_size": -1}, awq(48, rng))
    put("compressed-tensors", {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {
        "targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 16}}}},
        {".weight_shape": ("I32", [2], struct.pack("<2i", 32, 48)), ".weight_packed": tensor("I32", [32, 6], rng),
         ".weight_scale": tensor("F16", [32, 3], rng)})
    # Broken.
    put("gptq-other-bits", said(3), gptq(4, 16, rng))
    put("gptq-other-group", said(group=32), gptq(4, 16, rng))
    put("gptq-no-zeros", said(), {name: value for name, value in gptq(4, 16, rng).items() if name != ".qzeros"})
    put("gptq-groups-beyond", said(), gptq(4, 16, rng) | {".g_idx": ("I32", [48], struct.pack("<48i", *range(48)))})
    put("gptq-groups-below", said(), gptq(4, 16, rng) | {".g_idx": ("I32", [48], struct.pack("<48i", *([-1] * 48)))})
    put("gptq-empty", said(), {".qweight": ("I32", [0, 32], b""), ".qzeros": ("I32", [0, 4], b""), ".scales": ("F16", [0, 32], b"")})
    put("gptq-huge-group", said(group=1 << 20), gptq(4, 16, rng))
    put("gptq-nan", said(), gptq(4, 16, rng) | {".scales": ("F16", [3, 32], b"\xff" * 192)})
    put("gptq-rank-3", said(), gptq(4, 16, rng) | {".qweight": tensor("I32", [2, 3, 32], rng)})
    put("gptq-no-bits", {"quant_method": "gptq"}, gptq(4, 16, rng))
    put("gptq-no-object", b"[]", gptq(4, 16, rng))
    put("gptq-cut", b'{"quant_method": "gp', gptq(4, 16, rng))
    put("awq-other-group", awq_said | {"group_size": 48}, awq(16, rng))
    put("awq-seven-rows", awq_said, awq(16, rng) | {".scales": tensor("F16", [3, 28], rng)})


if __name__ == "__main__":
    main()
