#!/usr/bin/env python3
"""safetensors_peer.py PATH_OF_safetensors_copy: our reader and writer against the official package (pip: safetensors,
torch, numpy). What the package writes, we read and write again, and the package reads that as the same; files that
either rejects, both reject. Exits 1 and says what differs if anything does.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

CORPUS = pathlib.Path(__file__).parents[2] / "fuzz" / "corpus" / "safetensors"
# What we reject and the official reader takes: dtypes that mxq does not have, names given twice (it keeps the last),
# and blanks before the '{' that its own description of the format demands.
STRICTER = {"broken-unknown-dtype", "broken-twice", "broken-no-brace"}
# What the official reader rejects and we copy as bytes: dtypes that neither knows.
LAXER = {"valid-unknown-dtype"}
failures = []


def check(condition, what):
    if not condition:
        failures.append(what)
        print("FAIL", what)


def copy(program, source, folder, max_bytes):
    return subprocess.run([program, source, folder, str(max_bytes)], capture_output=True, text=True)


def sample_tensors():
    generator = torch.Generator().manual_seed(5)
    tensors = {"scalar": torch.tensor(1.5), "none": torch.zeros(0, 4), "\u00e4 \"\\": torch.ones(1)}
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        tensors[str(dtype)] = torch.randn(7, 5, generator=generator).to(dtype)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        tensors[str(dtype)] = torch.randint(0, 127, (3, 1, 2), generator=generator).to(dtype)
    tensors["bool"] = torch.tensor([True, False, True])
    return tensors


def same(a, b):
    """Dtype, shape and every bit (NaNs and signed zeros count)."""
    bits = lambda t: t.reshape(-1).contiguous().view(torch.uint8)
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))


def round_trip(program, folder):
    tensors, metadata = sample_tensors(), {"format": "pt", "note": "\u00fc\n\""}
    original = folder / "model.safetensors"
    save_file(tensors, original, metadata)
    for max_bytes in (1 << 30, 100):
        out = folder / f"out-{max_bytes}"
        out.mkdir()
        result = copy(program, original, out, max_bytes)
        check(result.returncode == 0, f"copy with shards of {max_bytes}: {result.stderr}")
        files = sorted(out.glob("*.safetensors"))
        check((len(files) > 1) == (max_bytes == 100), f"{len(files)} files with shards of {max_bytes}")
        read = {}
        for file in files:
            part = load_file(file)
            check(not read.keys() & part.keys(), f"{file.name} repeats tensors")
            read.update(part)
            with safe_open(file, "pt") as opened:
                check(opened.metadata() == metadata, f"metadata of {file.name}: {opened.metadata()}")
        check(read.keys() == tensors.keys(), f"names {sorted(read)}")
        for name, tensor in tensors.items():
            check(name in read and same(tensor, read[name]), f"tensor {name} differs (shards of {max_bytes})")
        if len(files) > 1:
            index = json.loads((out / "model.safetensors.index.json").read_text())
            check(index["metadata"]["total_size"] == sum(t.nbytes for t in tensors.values()), "total_size of the index")
            check(index["weight_map"].keys() == tensors.keys(), "weight_map's names")
            again = folder / "again"
            again.mkdir()
            result = copy(program, out, again, 1 << 30)
            check(result.returncode == 0, f"copy of the sharded folder: {result.stderr}")
            whole = load_file(again / "model.safetensors")
            check(all(same(t, whole[n]) for n, t in tensors.items()), "the sharded folder read again differs")


def same_verdicts(program, folder):
    for file in sorted(CORPUS.iterdir()):
        try:
            with safe_open(file, "pt") as opened:
                opened.keys()
            theirs = True
        except SafetensorError:
            theirs = False
        out = folder / ("verdict-" + file.name)
        out.mkdir()
        ours = copy(program, file, out, 1 << 30)
        check(ours.returncode in (0, 1), f"{file.name}: exit {ours.returncode}")
        expected = (theirs and file.name not in STRICTER) or file.name in LAXER
        check((ours.returncode == 0) == expected,
              f"{file.name}: the package {'accepts' if theirs else 'rejects'} it, we say {ours.stderr or 'nothing'}")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        round_trip(program, pathlib.Path(name))
        same_verdicts(program, pathlib.Path(name))
    print("safetensors_peer:", f"{len(failures)} failures" if failures else "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
