#!/usr/bin/env python3
"""Writes the seed corpora corpus/safetensors and corpus/shard_index beside this file: tiny valid and broken inputs.

Deterministic: a file's name says what it is, and running this again changes nothing.
"""
import json
import pathlib
import random
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"


def put(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def make_safetensors():
    rng = random.Random(1)
    one = {"w": tensor("F32", [1], 0, 4)}
    many, offset = {"__metadata__": {"format": "pt"}}, 0
    sizes = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
    for dtype, size in sizes.items():
        many[f"model.layers.{len(many)}.{dtype}"] = tensor(dtype, [2, 3], offset, offset + 6 * size)
        offset += 6 * size
    valid = {
        "empty": safetensors({}),
        "one": safetensors(one, b"abcd"),
        "every-dtype": safetensors(many, rng.randbytes(offset)),
        "scalar-and-empty": safetensors({"s": tensor("U8", [], 0, 1), "e": tensor("F16", [0, 9], 0, 0)}, b"x"),
        "metadata": safetensors({"__metadata__": {"k": "v", "\u00e4\"\\\n": "\U0001f600"}}),
        "metadata-null": safetensors({"__metadata__": None}),
        "spaces": safetensors(b"{}      "),
        "extra-keys": safetensors({"w": {**one["w"], "note": [1.5, {"a": None}, True]}}, b"abcd"),
        "escaped-name": safetensors(b'{"\\u00e4\\ud83d\\ude00":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
        "fp8": safetensors({"w": tensor("F8_E4M3", [4], 0, 4)}, b"abcd"),
        "fp4": safetensors({"w": tensor("F4", [8], 0, 4)}, b"abcd"),
        "unknown-dtype": safetensors({"w": tensor("I256", [1], 0, 32)}, bytes(32)),
        "huge-nothing": safetensors({"w": tensor("U8", [0, 1 << 62], 0, 0)}),
    }
    nothing = b'"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    broken = {
        "nothing": b"",
        "short": b"\x02\0\0\0",
        "length-beyond": safetensors({}, length=1 << 20),
        "length-huge": safetensors({}, length=(1 << 64) - 1),
        "no-brace": safetensors(b" {}"),
        "cut": safetensors(b'{"w":{"dtype":"F'),
        "bad-utf8": safetensors(b'{"\xff":{}}'),
        "lone-surrogate": safetensors(b'{"\\ud800":{}}'),
        "nul": safetensors(b"{}\0{}"),
        "deep": safetensors(b'{"w":{"x":' + b"[" * 100),
        "twice": safetensors(b"{%s,%s}" % (nothing, nothing)),
        "no-dtype": safetensors({"w": {"shape": [1], "data_offsets": [0, 4]}}, b"abcd"),
        "no-dtype-name": safetensors({"w": tensor("F8-E4M3", [4], 0, 4)}, b"abcd"),
        "half-a-byte": safetensors({"w": tensor("F4", [3], 0, 2)}, b"ab"),
        "negative-shape": safetensors({"w": tensor("F32", [-1], 0, 4)}, b"abcd"),
        "float-shape": safetensors({"w": tensor("F32", [1.5], 0, 4)}, b"abcd"),
        "overflow-shape": safetensors({"w": tensor("F32", [1 << 32, 1 << 32], 0, 4)}, b"abcd"),
        "big-integer": safetensors({"w": tensor("F32", [1 << 70], 0, 4)}, b"abcd"),
        "three-offsets": safetensors({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 2]}}, b"ab"),
        "backwards": safetensors({"w": tensor("F32", [1], 4, 0)}, b"abcd"),
        "beyond": safetensors({"w": tensor("F32", [2], 0, 8)}, b"abcd"),
        "overlap": safetensors({"a": tensor("U8", [3], 0, 3), "b": tensor("U8", [3], 1, 4)}, b"abcd"),
        "hole": safetensors({"a": tensor("U8", [1], 0, 1), "b": tensor("U8", [1], 3, 4)}, b"abcd"),
        "rest": safetensors(one, b"abcdef"),
        "metadata-number": safetensors({"__metadata__": {"k": 1}}),
        "list": safetensors({"w": []}),
    }
    for name, data in valid.items():
        put("safetensors", f"valid-{name}", data)
    for name, data in broken.items():
        put("safetensors", f"broken-{name}", data)


def make_shard_index():
    def index(weight_map, **more):
        return json.dumps({"metadata": {"total_size": 8}, "weight_map": weight_map, **more}).encode()

    inputs = {
        "valid-one": index({"a": "model.safetensors"}),
        "valid-two": index({"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}),
        "valid-more-keys": index({"a": "x"}, other=[{"b": [None, 1e3, -1]}]),
        "broken-nothing": b"",
        "broken-not-json": b"weight_map: {}",
        "broken-cut": index({"a": "x"})[:-4],
        "broken-empty-map": index({}),
        "broken-no-map": b'{"metadata":{}}',
        "broken-map-is-list": index(["a"]),
        "broken-file-is-number": index({"a": 1}),
        "broken-file-is-object": index({"a": {"b": "c"}}),
        "valid-folder": index({"a": "sub/x.safetensors"}),
        "broken-up-below": index({"a": "sub/../../x"}),
        "broken-up": index({"a": "../x"}),
        "broken-absolute": index({"a": "/etc/passwd"}),
        "broken-dots": index({"a": ".."}),
        "broken-nul": index({"a": "x\0y"}),
        "broken-twice": b'{"weight_map":{"a":"x","a":"y"}}',
        "broken-deep": b'{"metadata":' + b"[" * 100,
        "broken-bad-utf8": b'{"weight_map":{"a":"\xff"}}',
    }
    for name, data in inputs.items():
        put("shard_index", name, data)


if __name__ == "__main__":
    make_safetensors()
    make_shard_index()
