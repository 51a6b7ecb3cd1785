"""Writes the seed corpus of gguf_fuzz: small valid files of many shapes, and each with one random change.

    python make_gguf_corpus.py FOLDER [SEED]

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


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(60):
        file = build(rng)
        (folder / f"valid-{i:02}").write_bytes(file)
        (folder / f"damaged-{i:02}").write_bytes(damage(rng, file))


if __name__ == "__main__":
    main()
