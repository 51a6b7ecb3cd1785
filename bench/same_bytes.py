#!/usr/bin/env python3
"""same_bytes.py OLD NEW MODEL [METHOD...]: whether two builds of mxq write the same weight files, bit for bit, by eleven methods.

For changes that must not change results. Nothing is cached; calibrations are short. Prints a row a method; exits 1 where one
differs. SmolLM2-135M takes some 15 minutes on two cores. METHOD: part of a method's name; only those run.
"""
import hashlib
import pathlib
import subprocess
import sys
import tempfile

SHORT = ("--calibration-tokens", "3072")
METHODS = {
    "default at 3.25 bits": ("--bits", "3.25", *SHORT, "--sample-tokens", "768"),
    "rel, mse at 4 bits": ("--bits", "4", "--objective", "rel", "--fit", "mse"),
    "rel, mse in 70 MiB": ("--size", "70MiB", "--objective", "rel", "--fit", "mse"),
    "hqq": ("--uniform", "b4g64", "--fit", "hqq", "--normalize", "none"),
    "rtn, axis 0, fp16 metadata": ("--uniform", "b3g64", "--fit", "rtn", "--axis", "0", "--metadata", "f16", "--normalize", "none"),
    "sinq": ("--uniform", "b4g64", "--fit", "sinq", "--metadata", "f32"),
    "gptq as published": ("--uniform", "b3g128", "--fit", "autogptq", *SHORT),
    "awq": ("--uniform", "b4g128", "--fit", "awq", *SHORT),
    "nf4": ("--uniform", "nf4g64"),
    "Gaussian, gptq": ("--uniform", "gauss3g64", *SHORT),
    "k-means": ("--uniform", "km3g64", "--fit", "mse"),
}


def digest(mxq, model, method):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "out")
        done = subprocess.run([mxq, "quantize", model, "-o", out, "--no-cache", "--quiet", *method], capture_output=True, text=True)
        if done.returncode: return done.stderr.strip()
        found = hashlib.sha256()
        for shard in sorted(out.glob("*.safetensors")): found.update(shard.read_bytes())
        return found.hexdigest()


def main():
    old, new, model, *parts = sys.argv[1:]
    methods = {name: flags for name, flags in METHODS.items() if not parts or any(part in name for part in parts)}
    if not methods: sys.exit(f"no method has {' or '.join(parts)} in its name; there are {', '.join(METHODS)}")
    print("| method | old | new | |\n|---|---|---|---|")
    differ = False
    for name, method in methods.items():
        before, after = (digest(mxq, model, method) for mxq in (old, new))
        same = before == after and len(before) == 64
        differ |= not same
        print(f"| {name} | {before[:16]} | {after[:16]} | {'same' if same else 'DIFFERENT'} |", flush=True)
    sys.exit(differ)


main()
