"""Compares what mxq reads from GGUF's types of blocks with what the gguf package reads, to the last bit.

    python gguf_blocks_peer.py GGUF_FLOATS [MODEL.gguf ...] [--blocks N] [--seed S]

N random blocks of each type (src/format/testdata/make_ggml_blocks.py), as one file and in three parts, which the package
writes; then every tensor of the models. Exit 1 at the first difference.
"""

import argparse
import pathlib
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "src/format/testdata"))
from make_ggml_blocks import HALVES, random_blocks  # noqa: E402


def floats_of(program: str, path: pathlib.Path):
    """(name, weights) of every tensor as mxq reads it, in the file's order."""
    with subprocess.Popen([program, str(path)], stdout=subprocess.PIPE) as process:
        out = process.stdout
        while head := out.read(4):
            name = out.read(struct.unpack("<I", head)[0]).decode()
            count = struct.unpack("<q", out.read(8))[0]
            yield name, np.frombuffer(out.read(4 * count), dtype=np.uint32)
    assert process.returncode == 0, process.returncode


def bits_of(tensor) -> np.ndarray:
    """The package's weights as bits, a million at a time: its numpy code takes many times the memory."""
    kind, data = tensor.tensor_type, tensor.data
    if kind == gguf.GGMLQuantizationType.F32:
        return data.reshape(-1).view(np.uint32)
    rows = data.reshape(-1, data.shape[-1])
    step = max(1, (1 << 20) // rows.shape[-1])
    with np.errstate(all="ignore"):
        parts = [gguf.quants.dequantize(rows[i:i + step], kind).astype(np.float32) for i in range(0, len(rows), step)]
    return np.concatenate(parts).reshape(-1).view(np.uint32)


def compare(program: str, given: pathlib.Path, files: list[pathlib.Path]) -> None:
    expected = {tensor.name: tensor for file in files for tensor in gguf.GGUFReader(file).tensors}
    weights, kinds = 0, {}
    for name, found in floats_of(program, given):
        tensor = expected.pop(name)
        right = bits_of(tensor)
        assert found.shape == right.shape, f"{given.name}: {name} has {found.size} weights, not {right.size}"
        wrong = np.flatnonzero(found != right)
        assert not wrong.size, (f"{given.name}: {name} ({tensor.tensor_type.name}) differs in {wrong.size} weights, first "
                                f"{wrong[0]}: {found[wrong[0]]:08x}, not {right[wrong[0]]:08x}")
        weights += right.size
        kinds[tensor.tensor_type.name] = kinds.get(tensor.tensor_type.name, 0) + 1
    assert not expected, f"{given.name}: not read: {sorted(expected)}"
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    print(f"{given.name}: {weights:,} weights of {sum(kinds.values())} tensors equal to the bit ({counts})")


def write_random(path: pathlib.Path, blocks: int, seed: int, per_part: int) -> None:
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=per_part)
    for name in HALVES:
        writer.add_tensor(name, random_blocks(rng, name, blocks), raw_dtype=gguf.GGMLQuantizationType[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--blocks", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_intermixed_args()
    print(f"{arguments.blocks} random blocks a type, seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        write_random(folder / "whole.gguf", arguments.blocks, arguments.seed, 0)
        compare(arguments.program, folder / "whole.gguf", [folder / "whole.gguf"])
        write_random(folder / "split.gguf", arguments.blocks, arguments.seed, 8)
        parts = sorted(folder.glob("split-*-of-*.gguf"))
        assert len(parts) == 3, parts
        compare(arguments.program, parts[0], parts)
    for model in arguments.models:
        compare(arguments.program, model, [model])


if __name__ == "__main__":
    main()
