#!/usr/bin/env python3
"""gptq_peer.py MXQ MODEL CALIBRATION TEXT [--windows 64] [--schemes b4g128,b3g128] [--repeats 1]: `--fit autogptq` against the gptqmodel
package on a CPU, with its defaults (symmetric, columns by activation within groups that stay where they are, damping 0.01).

Both are calibrated on the same sequences, in fp32; the package's checkpoint is unpacked here, and mxq eval scores both, and round to
nearest. With repeats, each is calibrated on a part of its own of CALIBRATION, for a perplexity of a model that lost much is chance to some percent;
the ratio's mean is judged with its standard error. Exits 1 where ours is more than 1 % above the package's (plus that error), or not below
round to nearest. MODEL: a Hugging Face folder. Skipped with a message where gptqmodel is absent. It patches what it runs in: run it by a
Python of its own (scripts/setup.sh --gptqmodel; build/gptq-venv).
"""
import argparse
import json
import math
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

from gptq_calibration import SEQUENCES, TOKENS, run, sequences

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # of two cores it makes one worker, and wants two
report = os.dup(1)
os.dup2(2, 1)  # the package talks on standard output


def say(line):
    os.write(report, (line + "\n").encode())


try:
    import numpy as np
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig
    from safetensors.torch import load_file, save_file
except ImportError as absent:
    say(f"skipped: {absent} (scripts/setup.sh --gptqmodel installs it)")
    sys.exit(0)

def unpacked(words, bits):
    """Columns of dense LSB-first streams, [words, n] int32 -> [values, n]."""
    streams = np.unpackbits(words.numpy().T.copy().view(np.uint8), axis=1, bitorder="little")
    count = streams.shape[1] // bits
    return (streams[:, :count * bits].reshape(words.shape[1], count, bits) << np.arange(bits)).sum(2).T


def unpack_checkpoint(source, model, out, bits):
    """The checkpoint `source` as a plain model, with the other files of `model`."""
    tensors, plain = load_file(source / "model.safetensors"), {}
    for name in [key.removesuffix(".qweight") for key in tensors if key.endswith(".qweight")]:
        codes = unpacked(tensors.pop(name + ".qweight"), bits)
        scales = tensors.pop(name + ".scales").float().numpy()
        zeros = unpacked(tensors.pop(name + ".qzeros").T.contiguous(), bits).T[:, :scales.shape[1]] + 1  # stored less 1
        group = tensors.pop(name + ".g_idx").numpy()
        plain[name + ".weight"] = torch.tensor(((codes - zeros[group]) * scales[group]).T.astype(np.float32)).contiguous()
    out.mkdir()
    save_file(plain | tensors, out / "model.safetensors", {"format": "pt"})
    for file in model.iterdir():
        if file.suffix == ".json" and "index" not in file.name: shutil.copy(file, out)


def package(model, inputs, bits, group, folder):
    # The package would take the model's bf16, which costs a CPU without AMX ten times as long.
    config = QuantizeConfig(bits=bits, group_size=group, damp_percent=0.01)
    quantizer = GPTQModel.load(str(model), config, device="cpu", dtype=torch.float32)
    start = time.perf_counter()
    quantizer.quantize([{"input_ids": s, "attention_mask": [1] * TOKENS} for s in inputs], batch_size=1)
    seconds = time.perf_counter() - start
    quantizer.save(str(folder / "package"))
    unpack_checkpoint(folder / "package", model, folder / "model", bits)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mxq", "model", "calibration", "text"): parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--windows", type=int, default=64); parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--schemes", default="b4g128,b3g128")
    a = parser.parse_args()
    a.mxq, a.model, a.text = a.mxq.resolve(), a.model.resolve(), a.text.resolve()
    text = a.calibration.read_text()
    logs_folder = tempfile.TemporaryDirectory()
    os.chdir(logs_folder.name)  # the package leaves logs where it runs
    parts = [text[len(text) * i // a.repeats:len(text) * (i + 1) // a.repeats] for i in range(a.repeats)]
    say("| scheme | part | round to nearest | gptqmodel | mxq | mxq / gptqmodel | seconds, gptqmodel | seconds, mxq |\n|---|---|---|---|---|---|---|---|")
    failed = False
    for scheme in a.schemes.split(","):
        bits, group = map(int, scheme[1:].split("g"))
        logs = []
        for number, part in enumerate(parts):
            with tempfile.TemporaryDirectory() as temporary:
                folder = pathlib.Path(temporary)
                (folder / "calibration.txt").write_text(part)

                def perplexity():
                    command = [a.mxq, "eval", folder / "model", "--text", a.text, "--window", 512, "--stride", 512, "--tokens", 512 * a.windows]
                    found = json.loads(run(*command, "--json", "--quiet"))["perplexity"]
                    shutil.rmtree(folder / "model")
                    return found

                quantize = [a.mxq, "quantize", a.model, "--uniform", scheme, "-o", folder / "model", "--quiet", "--json"]
                if number == 0:
                    run(*quantize, "--fit", "rtn", "--metadata", "f16")
                    nearest = perplexity()
                start = time.perf_counter()
                run(*quantize, "--fit", "autogptq", "--calibration", folder / "calibration.txt", "--calibration-tokens", SEQUENCES * TOKENS)
                ours_seconds = time.perf_counter() - start
                ours = perplexity()
                seconds = package(a.model, sequences(a.mxq, a.model, folder / "calibration.txt"), bits, group, folder)
                peer = perplexity()
            logs.append(math.log(ours / peer))
            failed |= not ours < nearest
            say(f"| {scheme} | {number + 1} | {nearest:.3f} | {peer:.3f} | {ours:.3f} | {ours / peer:.4f} | {seconds:.0f} | {ours_seconds:.0f} |")
        error = statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else 0
        mean = statistics.mean(logs)
        say(f"| {scheme} | mean | | | | {math.exp(mean):.4f} +- {error:.4f} | | |")
        failed |= mean - error > math.log(1.01)
    sys.exit(failed)


if __name__ == "__main__":
    main()
