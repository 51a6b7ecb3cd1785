#!/usr/bin/env python3
"""Writes the seed corpora corpus/torch_file and corpus/torch_pickle beside this file: tiny valid and broken inputs.

Deterministic: a file's name says what it is, and running this again changes nothing.
"""
import collections
import io
import pathlib
import random
import struct
import sys
import zipfile

FUZZ = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FUZZ.parent / "tests/e2e"))
sys.dont_write_bytecode = True

from torch_files import Called, Parameter, Storage, Tensor, named, pickled  # noqa: E402

SIX = struct.pack("<6f", *range(6))


def put(target, name, data):
    folder = FUZZ / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def entry(archive, name, data, method=zipfile.ZIP_STORED):
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = method
    archive.writestr(info, data)


def archive(data_pkl, storages, more=(), byteorder=b"little", method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        entry(out, "m/data.pkl", data_pkl, method)
        entry(out, "m/byteorder", byteorder)
        for key, data in storages.items():
            entry(out, f"m/data/{key}", data)
        for name, data in more:
            entry(out, name, data)
    return file.getvalue()


def zip64(data):
    """The archive with the end record that torch writes."""
    end = data.rindex(b"PK\5\6")
    count, size, offset = struct.unpack_from("<HII", data, end + 10)
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, end, 1)
    return data[:end] + record + locator + data[end:]


def values():
    """Name -> what torch.save would be given."""
    six = Storage("F32", SIX)
    states = {
        "one": {"w": Tensor(six, (2, 3))},
        "views": {"t": Tensor(six, (3, 2), (1, 3)), "s": Tensor(six, (2, 2), (3, 1), 1), "x": Tensor(six, (), ()), "e": Tensor(six, (0, 3)),
                  "z": Tensor(six, (2, 3), (0, 1))},
        "ordered": collections.OrderedDict(a=Tensor(six, (6,)), b=Tensor(Storage("BF16", bytes(8)), (2, 2))),
        "parameter": {"w": Parameter(Tensor(six, (6,)))},
        "wrapped": {"model": {"module.w": Tensor(six, (6,))}, "epoch": 3, "lr": 0.5, "done": True, "none": None, "big": 2**70},
        "names": {"layers.0.attention.wq.weight": Tensor(six, (2, 3)), "ä": Tensor(six, (6,))},
        "harmless": {"w": Tensor(six, (6,)), "s": Called("torch", "Size", (1, 2)), "d": Called("torch", "device", "cpu"),
                     "c": Called("_codecs", "encode", "ab", "latin1"), "l": [1, [2, "x"], (3,)], "set": Called("__builtin__", "set", [1])},
        "untyped": {"w": Called("torch._utils", "_rebuild_tensor_v3", six, 0, (6,), (1,), False, None, named("torch", "float32"))},
        "type": {"w": Called("torch._tensor", "_rebuild_from_type_v2", named("torch._utils", "_rebuild_tensor_v2"),
                             named("torch.nn.parameter", "Parameter"), (six, 0, (6,), (1,), False, None), {})},
        "old": {"w": Called("torch._utils", "_rebuild_tensor", six, 0, (6,), (1,))},
        "bad-beyond": {"w": Tensor(six, (7,))},
        "bad-overflow": {"w": Tensor(six, (2**40, 2**40), (0, 0))},
        "bad-stride": {"w": Tensor(six, (2, 3), (2**62, 1))},
        "bad-negative": {"w": Tensor(six, (6,), (-1,), 5)},
        "bad-expanded": {"w": Tensor(six, (1000,), (0,))},
        "bad-call": {"w": Called("os", "system", "true")},
        "bad-two": {"model": {"w": Tensor(six, (6,))}, "state_dict": {"w": Tensor(six, (6,))}},
        "bad-metadata": {"w": Called("torch._utils", "_rebuild_tensor_v2", six, 0, (6,), (1,), False, None, {"neg": True})},
    }
    return states


def make():
    for name, value in values().items():
        data, storages = pickled(value)
        whole = archive(data, {key: storage.data for key, storage in storages.items()})
        put("torch_pickle", name, data)
        put("torch_file", name, whole)
    data, storages = pickled({"w": Tensor(Storage("F32", SIX), (2, 3))})
    held = {"0": SIX}
    put("torch_file", "zip64", zip64(archive(data, held)))
    put("torch_file", "bad-big-endian", archive(data, held, byteorder=b"big"))
    put("torch_file", "bad-compressed", archive(data, held, method=zipfile.ZIP_DEFLATED))
    put("torch_file", "bad-script", archive(data, held, [("m/constants.pkl", b"x")]))
    put("torch_file", "bad-two-folders", archive(data, held, [("n/data.pkl", b"x")]))
    put("torch_file", "bad-key", archive(data, {"../0": SIX}))
    put("torch_file", "bad-no-storage", archive(data, {}))
    rng = random.Random(5)
    whole = zip64(archive(data, held))
    for i in range(24):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        put("torch_file", f"damaged-{i:02}", bytes(damaged[:rng.choice((len(damaged), rng.randrange(len(damaged))))]))
    for name, raw in {
        "empty": b"", "memo": b"\x80\2}r\xff\xff\xff\xff.", "get": b"\x80\2h\7.", "self": b"\x80\2]q\0h\0a.", "deep": b"\x80\2" + b"]" * 500 + b"a" * 499 + b".",
        "text": b"\x80\2X\xff\xff\xff\xff.", "frame": b"\x80\4\x95\4\0\0\0\0\0\0\0}\x94.", "inst": b"\x80\2(ios\nsystem\n.",
        "stack-global": b"\x80\4\x8c\2os\x94\x8c\6system\x94\x93.", "set": b"\x80\4\x8f(K\1\x90.", "long": b"\x80\2\x8a\2\0\x80.",
        "bytes": b"\x80\3C\2ab.", "pop": b"\x80\2N(N10.", "mark": b"\x80\2(((t."}.items():
        put("torch_pickle", f"raw-{name}", raw)


if __name__ == "__main__":
    make()
