"""Writes the seed corpora of gguf_fuzz and gguf_parts_fuzz: small valid files of many shapes, and each with one random
change; a file of each type of blocks; models in parts.

    python make_gguf_corpus.py FOLDER [SEED]      into FOLDER/gguf and FOLDER/gguf_parts

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
