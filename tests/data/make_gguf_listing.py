"""Lists GGUF files with the `gguf` package: the reference for src/format/gguf_test.cc.

    python make_gguf_listing.py SmolLM2.gguf vocab1.gguf ... > gguf_listing.txt

A line per metadata entry and one for all tensors of a file. Values that are long are given by their FNV-1a hash.
A tensor's line (hashed) is "name type [row-major shape] hash of its first and last 64 bytes".
"""

import os
import struct
import sys

import gguf

SPELLING = {"UINT8": "u8", "INT8": "i8", "UINT16": "u16", "INT16": "i16", "UINT32": "u32", "INT32": "i32",
            "FLOAT32": "f32", "BOOL": "bool", "STRING": "string", "UINT64": "u64", "INT64": "i64", "FLOAT64": "f64"}


def fnv1a(data: bytes, state: int = 0xCBF29CE484222325) -> int:
    for byte in data:
        state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return state


def scalar_text(kind: str, value) -> str:
    if kind == "string":
        return f"{len(value.encode())} {fnv1a(value.encode()):016x}"
    if kind == "f32":
        return f"{struct.unpack('<I', struct.pack('<f', value))[0]:08x}"
    return str(int(value))


def field_line(field) -> str:
    kinds = [SPELLING.get(t.name, t.name) for t in field.types]
    value = field.contents()
    if kinds[0] == "ARRAY":
        state = 0xCBF29CE484222325
        for item in value:
            state = fnv1a((scalar_text(kinds[1], item) + "\n").encode(), state)
        return f"{field.name} array {kinds[1]} {len(value)} {state:016x}"
    return f"{field.name} {kinds[0]} {scalar_text(kinds[0], value)}"


def tensor_line(tensor) -> str:
    data = tensor.data.tobytes()
    shape = ", ".join(str(int(n)) for n in reversed(tensor.shape))
    return f"{tensor.name} {tensor.tensor_type.name} [{shape}] {fnv1a(data[:64] + data[-64:]):016x}\n"


def main() -> None:
    for path in sys.argv[1:]:
        reader = gguf.GGUFReader(path)
        print("file", os.path.basename(path))
        for name in sorted(n for n in reader.fields if not n.startswith("GGUF.")):
            print(field_line(reader.fields[name]))
        state = 0xCBF29CE484222325
        for tensor in reader.tensors:
            state = fnv1a(tensor_line(tensor).encode(), state)
        print(f"tensors {len(reader.tensors)} {state:016x}")


if __name__ == "__main__":
    main()
