"""Writes the seed corpora of gguf_fuzz, gguf_model_fuzz and gguf_parts_fuzz: small valid files of many shapes, and each
with one random change; a file of each type of blocks; whole models of one layer or two; models in parts.

    python make_gguf_corpus.py FOLDER [SEED]      into FOLDER/gguf, FOLDER/gguf_model and FOLDER/gguf_parts

Needs nothing but Python. The same seed gives the same files.
"""

import pathlib
import random
import struct
import sys

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
# ggml type -> (elements of a block, bytes of a block)
TENSOR_TYPES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 24: (1, 1),
                25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2), 12: (256, 144)}

# The types of blocks that have come since: (type, elements of a block, bytes of a block).
BLOCK_TYPES = [(10, 256, 84), (11, 256, 110), (13, 256, 176), (14, 256, 210), (16, 256, 66), (17, 256, 74),
               (18, 256, 98), (19, 256, 50), (20, 32, 18), (21, 256, 110), (22, 256, 82), (23, 256, 136),
               (29, 256, 56), (34, 256, 54), (35, 256, 66), (39, 32, 17)]


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def scalar(rng: random.Random, kind: int) -> bytes:
    if kind == 8:
        return string(rng.randbytes(rng.randrange(12)))
    if kind in (6, 12):
        return struct.pack(SCALARS[kind], rng.uniform(-9, 9))
    return struct.pack(SCALARS[kind], rng.randrange(2) if kind == 7 else rng.randrange(100))


def entry(rng: random.Random, key: str) -> bytes:
    kind = rng.choice([*SCALARS, 8, 9, 9, 9])
    if kind != 9:
        return string(key.encode()) + struct.pack("<I", kind) + scalar(rng, kind)
    element = rng.choice([*SCALARS, 8, 8])
    count = rng.randrange(6)
    items = b"".join(scalar(rng, element) for _ in range(count))
    return string(key.encode()) + struct.pack("<IIQ", 9, element, count) + items


def build(rng: random.Random) -> bytes:
    alignment = rng.choice([1, 8, 32, 32, 64])
    entries = [string(b"general.alignment") + struct.pack("<II", 4, alignment)] if alignment != 32 else []
    entries += [entry(rng, f"key.{i}") for i in range(rng.randrange(8))]
    infos, data = b"", b""
    count = rng.randrange(5)
    for i in range(count):
        kind = rng.choice(list(TENSOR_TYPES))
        block, block_bytes = TENSOR_TYPES[kind]
        shape = [block * rng.randrange(1, 3)] + [rng.randrange(4) for _ in range(rng.randrange(4))]
        elements = 1
        for extent in shape:
            elements *= extent
        data += bytes(-len(data) % alignment)
        infos += string(f"blk.{i}.weight".encode()) + struct.pack("<I", len(shape))
        infos += b"".join(struct.pack("<Q", extent) for extent in shape) + struct.pack("<IQ", kind, len(data))
        data += rng.randbytes(elements // block * block_bytes)
    header = b"GGUF" + struct.pack("<IQQ", rng.choice([2, 3, 3]), count, len(entries)) + b"".join(entries) + infos
    return header + bytes(-len(header) % alignment) + data


def damage(rng: random.Random, file: bytes) -> bytes:
    change = rng.randrange(4)
    at = rng.randrange(len(file))
    if change == 0:
        return file[:at]
    if change == 1:
        return file[:at] + bytes([rng.randrange(256)]) + file[at + 1:]
    if change == 2:
        extreme = rng.choice([0, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1])
        return file[:at] + struct.pack("<Q", extreme) + file[at + 8:]
    return file[:at] + file[rng.randrange(len(file)):]


def one_tensor(rng: random.Random, name: bytes, kind: int, block: int, size: int, entries: bytes, count: int) -> bytes:
    """A file with `count` entries of metadata and one tensor of two blocks."""
    info = string(name) + struct.pack("<IQQIQ", 2, block, 2, kind, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, count) + entries + info
    return header + bytes(-len(header) % 32) + rng.randbytes(2 * size)


def split_entries(number: int, count: int, tensors: int) -> bytes:
    return (string(b"split.no") + struct.pack("<IH", 2, number) + string(b"split.count") +
            struct.pack("<IH", 2, count) + string(b"split.tensors.count") + struct.pack("<Ii", 5, tensors))


def in_parts(rng: random.Random, numbers: list[int], count: int, tensors: int, same_name: bool = False) -> bytes:
    files = b""
    for number in numbers:
        name = b"w" if same_name else f"blk.{number}.weight".encode()
        file = one_tensor(rng, name, 12, 256, 144, split_entries(number, count, tensors), 3)
        files += struct.pack("<H", len(file)) + file
    return files


# Extents of the models: hidden, intermediate, vocabulary, of an expert.
HIDDEN, INNER, VOCAB, EXPERT = 8, 12, 6, 4
NORM, DENSE = {"attn_norm": [HIDDEN], "ffn_norm": [HIDDEN]}, {
    "ffn_gate": [INNER, HIDDEN], "ffn_up": [INNER, HIDDEN], "ffn_down": [HIDDEN, INNER]}
HEADS = {"attn_q": [8, HIDDEN], "attn_k": [4, HIDDEN], "attn_v": [4, HIDDEN], "attn_output": [HIDDEN, 8]}
EXPERTS = {"ffn_gate_inp": [3, HIDDEN], "ffn_gate_exps": [3, EXPERT, HIDDEN], "ffn_up_exps": [3, EXPERT, HIDDEN],
           "ffn_down_exps": [3, HIDDEN, EXPERT]}
SHARED = {"ffn_gate_shexp": [EXPERT, HIDDEN], "ffn_up_shexp": [EXPERT, HIDDEN], "ffn_down_shexp": [HIDDEN, EXPERT],
          "ffn_gate_inp_shexp": [HIDDEN]}
POSTED = {"attn_norm": [HIDDEN], "post_attention_norm": [HIDDEN]}
GATED = {**HEADS, "attn_q": [16, HIDDEN], "attn_q_norm": [4], "attn_k_norm": [4]}
# One key head of two dimensions, two value heads of three.
DELTA = {"ssm_conv1d": [10, 2], "ssm_a": [2], "ssm_dt.bias": [2], "ssm_norm": [3], "ssm_out": [HIDDEN, 6]}
APART = {**DELTA, "attn_qkv": [10, HIDDEN], "attn_gate": [6, HIDDEN], "ssm_beta": [2, HIDDEN], "ssm_alpha": [2, HIDDEN]}
JOINED = {**DELTA, "attn_qkv": [10, HIDDEN], "attn_gate": [6, HIDDEN], "ssm_ba": [4, HIDDEN]}
OLDER = {**DELTA, "ssm_in": [16, HIDDEN], "ssm_ba": [4, HIDDEN]}
DELTA_KEYS = {"ssm.conv_kernel": 2, "ssm.state_size": 2, "ssm.group_count": 1, "ssm.time_step_rank": 2,
              "ssm.inner_size": 6, "full_attention_interval": 2, "attention.key_length": 4, "attention.value_length": 4,
              "rope.dimension_count": 2}
EXPERT_KEYS = {"expert_count": 3, "expert_used_count": 2, "expert_feed_forward_length": EXPERT}
SHARED_KEYS = {**EXPERT_KEYS, "expert_shared_feed_forward_length": EXPERT}
# Of each: the architecture, keys of its own, the tensors of each layer.
MODELS = {
    "llama": ("llama", {}, [{**NORM, **HEADS, **DENSE}]),
    "mixtral": ("llama", EXPERT_KEYS, [{**NORM, **HEADS, **EXPERTS}]),
    "qwen3next": ("qwen3next", {**DELTA_KEYS, **SHARED_KEYS},
                  [{**POSTED, **JOINED, **EXPERTS, **SHARED}, {**POSTED, **GATED, **EXPERTS, **SHARED}]),
    "qwen3next-older": ("qwen3next", {**DELTA_KEYS, **SHARED_KEYS}, [{**POSTED, **OLDER, **EXPERTS, **SHARED}]),
    "qwen35": ("qwen35", {**DELTA_KEYS, "nextn_predict_layers": 1},
               [{**POSTED, **APART, **DENSE}, {**POSTED, **GATED, **DENSE},
                {**POSTED, **GATED, **DENSE, "nextn.eh_proj": [HIDDEN, 2 * HIDDEN], "nextn.enorm": [HIDDEN]}]),
    "qwen35moe": ("qwen35moe", {**DELTA_KEYS, **SHARED_KEYS},
                  [{**POSTED, **APART, **EXPERTS, **SHARED}, {**POSTED, **GATED, "ffn_gate_inp": [3, HIDDEN],
                   "ffn_gate_up_exps": [3, 2 * EXPERT, HIDDEN], "ffn_down_exps": [3, HIDDEN, EXPERT], **SHARED}]),
}


def whole_model(rng: random.Random, architecture: str, keys: dict, layers: list) -> bytes:
    keys = {"block_count": len(layers), "context_length": 64, "embedding_length": HIDDEN, "feed_forward_length": INNER,
            "attention.head_count": 2, "attention.head_count_kv": 1, "attention.key_length": 4,
            "attention.value_length": 4, **keys}
    entries = [string(b"general.architecture") + struct.pack("<I", 8) + string(architecture.encode()),
               string(f"{architecture}.attention.layer_norm_rms_epsilon".encode()) + struct.pack("<If", 6, 1e-5)]
    entries += [string(f"{architecture}.{key}".encode()) + struct.pack("<II", 4, value) for key, value in keys.items()]
    tensors = {"token_embd.weight": [VOCAB, HIDDEN], "output_norm.weight": [HIDDEN]}
    for i, layer in enumerate(layers):
        for name, shape in layer.items():
            ending = "" if name in ("ssm_a", "ssm_dt.bias") else ".weight"
            tensors[f"blk.{i}.{name}{ending}"] = shape
    infos, data = b"", b""
    for name, shape in tensors.items():
        data += bytes(-len(data) % 32)
        infos += string(name.encode()) + struct.pack("<I", len(shape))
        infos += b"".join(struct.pack("<Q", extent) for extent in reversed(shape)) + struct.pack("<IQ", 0, len(data))
        count = 1
        for extent in shape:
            count *= extent
        data += struct.pack(f"<{count}f", *(rng.uniform(-2, -0.5) for _ in range(count)))
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries) + infos
    return header + bytes(-len(header) % 32) + data


def main() -> None:
    folder = pathlib.Path(sys.argv[1]) / "gguf"
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(60):
        file = build(rng)
        (folder / f"valid-{i:02}").write_bytes(file)
        (folder / f"damaged-{i:02}").write_bytes(damage(rng, file))
    for kind, block, size in BLOCK_TYPES:
        (folder / f"type-{kind:02}").write_bytes(one_tensor(rng, b"w", kind, block, size, b"", 0))
    models = folder.parent / "gguf_model"
    models.mkdir(parents=True, exist_ok=True)
    own = random.Random(2)
    for name, model in MODELS.items():
        file = whole_model(own, *model)
        (models / f"valid-{name}").write_bytes(file)
        for i in range(4):
            (models / f"damaged-{name}-{i}").write_bytes(damage(own, file))
    parts = folder.parent / "gguf_parts"
    parts.mkdir(parents=True, exist_ok=True)
    for name, file in {
        "valid-2": in_parts(rng, [0, 1], 2, 2), "valid-4": in_parts(rng, [0, 1, 2, 3], 4, 4),
        "valid-whole": in_parts(rng, [0], 1, 1), "order": in_parts(rng, [1, 0], 2, 2),
        "missing": in_parts(rng, [0, 1], 3, 3), "twice": in_parts(rng, [0, 1], 2, 2, True),
        "total": in_parts(rng, [0, 1], 2, 3), "number": in_parts(rng, [0, 7], 2, 2),
    }.items():
        (parts / name).write_bytes(file)
        (parts / f"damaged-{name}").write_bytes(damage(rng, file))


if __name__ == "__main__":
    main()
