"""One group of a checkpoint's codes, as it lies in the file (docs/reference/checkpoint.md)."""
import json
import re
import struct
from dataclasses import dataclass

from .runs import ReportError

AFFINE = re.compile(r"b(\d+)g(\d+)")


@dataclass
class Group:
    matrix: str
    scheme: str
    bits: int
    size: int
    bytes: bytes  # that the group's first codes lie in
    codes: list
    scale: float
    zero: float

    @property
    def weights(self): return [(code - self.zero) * self.scale for code in self.codes]


def _tensors(folder):
    """Name to (file, dtype, offset, bytes)."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as file:
            size = path.stat().st_size
            length = struct.unpack("<Q", file.read(8))[0] if size >= 8 else size
            if length > size - 8: raise ReportError(f"read {path}: a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
        for name, entry in header.items():
            if name != "__metadata__": found[name] = (path, entry["dtype"], 8 + length + entry["data_offsets"][0], *entry["data_offsets"])
    return found


def _read(tensors, name, count=None):
    """The first bytes of a tensor."""
    if name not in tensors: raise ReportError(f"read checkpoint: no tensor {name}")
    path, _, offset, begin, end = tensors[name]
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(end - begin if count is None else min(count, end - begin))


def first_group(folder, bits=3):
    """The first group of a matrix with an affine scheme of so many bits, or else of the fewest, groups along rows and 8-bit metadata."""
    try:
        config = json.loads((folder / "config.json").read_text())["quantization_config"]
        fitting = []
        for name, entry in config["matrices"].items():
            scheme = AFFINE.fullmatch(entry["scheme"])
            if scheme and entry.get("axis", config["axis"]) == 1 and entry.get("metadata", config["metadata"]) == "q8":
                fitting.append((int(scheme[1]) != bits, int(scheme[1]), name, entry["scheme"], min(int(scheme[2]), entry["cols"])))
    except (OSError, KeyError, json.JSONDecodeError) as e:
        raise ReportError(f"read {folder}: no mxq checkpoint ({e})") from e
    if not fitting: return None
    _, width, name, scheme, size = min(fitting, key=lambda item: item[:2])
    tensors = _tensors(folder)
    raw = _read(tensors, name + ".codes", (size * width + 7) // 8)
    stream = int.from_bytes(raw, "little")
    codes = [stream >> (width * i) & (1 << width) - 1 for i in range(min(size, len(raw) * 8 // width))]
    scale_step, = struct.unpack("<e", _read(tensors, name + ".scale_steps", 2))
    zero_step, = struct.unpack("<e", _read(tensors, name + ".zero_steps", 2))
    scale = _read(tensors, name + ".scales", 1)[0] * scale_step
    zero = ((1 << width) - 1) / 2 - zero_step * struct.unpack("<b", _read(tensors, name + ".zeros", 1))[0]
    return Group(name, scheme, width, size, raw, codes, scale, zero)
