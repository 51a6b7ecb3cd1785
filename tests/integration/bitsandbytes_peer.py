#!/usr/bin/env python3
"""bitsandbytes_peer.py MXQ: NF4 and FP4 checkpoints against the bitsandbytes package on a CPU (pip: bitsandbytes, torch).

Nine matrices, ordinary and adversarial, are quantized by `MXQ quantize --uniform` and by bitsandbytes.functional; codes,
absmax, nested absmax and offset must be equal bit for bit, with and without double quantization, and what comes back must
equal what the package gives back. A tenth has denormal numbers, of which these schemes lose nearly all: mxq refuses it by
name.
"""
import pathlib
import subprocess
import sys
import tempfile

import bitsandbytes
import torch
from bitsandbytes import functional
from safetensors.torch import load_file, save_file

SEED = 17


def matrices():
    random = torch.Generator().manual_seed(SEED)
    normal = lambda *shape: torch.randn(*shape, generator=random)
    code = functional.get_4bit_type("nf4", device="cpu")
    middles = (code[1:] + code[:-1]) / 2
    outliers = 0.02 * normal(96, 320)
    outliers[::7, 5] = 40
    many_sizes = normal(64, 512) * torch.logspace(-20, 15, 64)[:, None]
    ties = torch.cat([middles, code, -middles, code[:2]]).repeat(50).reshape(40, 60)
    zeros = 0.01 * normal(30, 128)
    zeros[10:20] = 0
    return {"ordinary": 0.02 * normal(576, 576), "large": 0.02 * normal(1536, 576), "short last block": normal(33, 70),
            "odd": normal(7, 43), "one": normal(1, 1), "outliers": outliers, "many sizes": many_sizes, "ties": ties,
            "zero rows": zeros, "denormal": normal(16, 256) * 1e-39}


def compare(got, name, double, weight, kind, group, restored):
    codes, state = functional.quantize_4bit(weight, blocksize=group, quant_type=kind, compress_statistics=double)
    codes = codes.flatten()
    bits = lambda tensor: tensor.contiguous().flatten().view(torch.uint8)
    expected = {"codes": codes, "absmax": state.absmax}
    if double: expected |= {"offset": state.offset, "nested_absmax": state.state2.absmax}
    bad = []
    for part, values in expected.items():
        ours, theirs = bits(got[f"{name}.{part}"]), bits(values)
        if not torch.equal(ours[:len(theirs)], theirs) or ours[len(theirs):].any(): bad.append(part)
    # As one row: with rows that are no whole number of blocks, 0.50.2 reads the wrong absmax for most weights.
    state.shape = torch.Size([1, weight.numel()])
    if not torch.equal(restored.reshape(1, -1), functional.dequantize_4bit(codes[:, None], state)): bad.append("weights")
    return bad


def main():
    mxq, failed = sys.argv[1], []
    torch.set_num_threads(1)  # the package's own offsets depend on how many there are
    names = {f"model.layers.{i}.mlp.up_proj": label for i, label in enumerate(matrices())}
    weights = dict(zip(names, matrices().values()))
    denormal = next(name for name, label in names.items() if label == "denormal")
    held = {name: w for name, w in weights.items() if name != denormal}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        out, plain = folder / "out", folder / "plain"
        for file, content in (("all", weights), ("model", held)):
            save_file({f"{name}.weight": w for name, w in content.items()}, folder / f"{file}.safetensors")
        for kind, group, metadata in [("nf4", 64, "q8"), ("nf4", 64, "f32"), ("nf4", 128, "q8"), ("nf4", 32, "q8"),
                                      ("fp4", 64, "q8"), ("fp4", 64, "f32")]:
            quantize = [mxq, "quantize", "--uniform", f"{kind}g{group}", "--metadata", metadata, "-o", out]
            refused = subprocess.run([*quantize, folder / "all.safetensors", "--overwrite"], capture_output=True, text=True)
            if refused.returncode != 1 or f"'{denormal}'" not in refused.stderr:
                failed.append(f"{kind}g{group} {metadata}: {denormal} is not refused")
            for command in ([*quantize, folder / "model.safetensors"], [mxq, "dequantize", out, "--dtype", "f32", "-o", plain]):
                subprocess.run([*command, "--overwrite", "--quiet", "--json"], check=True, stdout=subprocess.DEVNULL)
            got, restored = load_file(out / "model.safetensors"), load_file(plain / "model.safetensors")
            for name in held:
                label = names[name]
                bad = compare(got, name, metadata == "q8", weights[name], kind, group, restored[f"{name}.weight"])
                if bad: failed.append(f"{kind}g{group} {metadata}, {label}: {', '.join(bad)}")
        print(f"bitsandbytes {bitsandbytes.__version__}: {len(held)} matrices, seed {SEED}: " +
              ("; ".join(failed) if failed else "codes, absmax, nested absmax, offset and weights are equal"))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
