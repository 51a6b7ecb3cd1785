#!/usr/bin/env python3
"""gptq_peer.py MXQ MODEL CALIBRATION TEXT [--scheme b4g128] [--sequences 48] [--pairs 1] [--jobs 1] [--windows 64] [--keep FOLDER]

`--fit autogptq` against the gptqmodel package on a CPU, with its defaults (symmetric, columns by activation within groups that stay where
they are, damping 0.01).

Both are calibrated on the same sequences, in fp32; the package's checkpoint is unpacked here, and mxq eval scores both, and round to
nearest. Each pair is calibrated on a part of its own of CALIBRATION, for a perplexity of a model that lost much is chance to some percent;
the ratio's mean is judged with its standard error. Exits 1 where it is more than 1 % (plus that error) above 1, or a perplexity of ours not
below that of round to nearest. --jobs: pairs at a time, which share the processor. --keep: leaves the last pair's weights of the package and
calibration.txt in FOLDER, for gptq_by_definition.py. MODEL: a Hugging Face folder. The
package patches the Python that it runs in: run this by one of its own (scripts/setup.sh --gptqmodel; build/gptq-venv).
"""
import argparse
import concurrent.futures
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from gptq_calibration import SEQUENCES, TOKENS, bits_and_group, quantize, run, sequences


def unpacked(words, bits):
    """Columns of dense LSB-first streams, [words, n] int32 -> [values, n]."""
    import numpy as np
    streams = np.unpackbits(words.numpy().T.copy().view(np.uint8), axis=1, bitorder="little")
    count = streams.shape[1] // bits
    return (streams[:, :count * bits].reshape(words.shape[1], count, bits) << np.arange(bits)).sum(2).T


def unpack_checkpoint(source, model, out, bits):
    """The checkpoint `source` as a plain model, with the other files of `model`."""
    import numpy as np
    import torch
    from safetensors.torch import load_file, save_file
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
    """Seconds of the package for folder/model."""
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # of two cores it makes one worker, and wants two
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig
    # The package would take the model's bf16, which costs a CPU without AMX ten times as long.
    config = QuantizeConfig(bits=bits, group_size=group, damp_percent=0.01)
    quantizer = GPTQModel.load(str(model), config, device="cpu", dtype=torch.float32)
    start = time.perf_counter()
    quantizer.quantize([{"input_ids": s, "attention_mask": [1] * TOKENS} for s in inputs], batch_size=1)
    seconds = time.perf_counter() - start
    quantizer.save(str(folder / "package"))
    unpack_checkpoint(folder / "package", model, folder / "model", bits)
    return seconds


def perplexity(a, folder):
    """Of folder/model, which goes."""
    command = [a.mxq, "eval", folder / "model", "--text", a.text, "--window", 512, "--stride", 512, "--tokens", 512 * a.windows]
    found = json.loads(run(*command, "--json", "--quiet"))["perplexity"]
    shutil.rmtree(folder / "model")
    return found


def pair(a, number):
    bits, group = bits_and_group(a.scheme)
    text, found = a.calibration.read_bytes().decode(), {}  # line ends as they are
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        os.chdir(folder)  # the package leaves logs where it runs
        calibration = folder / "calibration.txt"
        calibration.write_bytes(text[len(text) * number // a.pairs:len(text) * (number + 1) // a.pairs].encode())
        start = time.perf_counter()
        quantize(a.mxq, a.model, a.scheme, calibration, folder / "model", a.sequences)
        found["mxq seconds"] = time.perf_counter() - start
        found["mxq"] = perplexity(a, folder)
        inputs = sequences(a.mxq, a.model, calibration, a.sequences)
        found["peer seconds"] = package(a.model, inputs, bits, group, folder)
        if a.keep and number == a.pairs - 1:
            shutil.copytree(folder / "model", a.keep, dirs_exist_ok=True)
            shutil.copy(calibration, a.keep)
        found["peer"] = perplexity(a, folder)
        os.chdir("/")
    return found


def in_a_process(a, number):
    threads = max(1, len(os.sched_getaffinity(0)) // a.jobs)
    share = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, *sys.argv[1:], "--pair", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, env=share)
    if done.returncode: raise RuntimeError(done.stderr[-4000:])
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mxq", "model", "calibration", "text"): parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--scheme", default="b4g128"); parser.add_argument("--sequences", type=int, default=SEQUENCES)
    parser.add_argument("--pairs", type=int, default=1); parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--windows", type=int, default=64); parser.add_argument("--pair", type=int, help="print this one's figures as JSON")
    parser.add_argument("--keep", type=pathlib.Path)
    a = parser.parse_args()
    a.mxq, a.model, a.calibration, a.text, a.keep = (path and path.resolve() for path in (a.mxq, a.model, a.calibration, a.text, a.keep))
    if a.pair is not None:
        report = os.dup(1)
        os.dup2(2, 1)  # the package talks on standard output
        os.write(report, json.dumps(pair(a, a.pair)).encode())
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        run(a.mxq, "quantize", a.model, "--uniform", a.scheme, "--fit", "rtn", "--metadata", "f16", "-o", folder / "model", "--quiet")
        nearest = perplexity(a, folder)
    print(f"{a.scheme}, {a.sequences} sequences of {TOKENS} tokens; round to nearest: {nearest:.3f}\n\n"
          "| pair | gptqmodel | mxq | mxq / gptqmodel | seconds, gptqmodel | seconds, mxq |\n|---|---|---|---|---|---|", flush=True)
    logs, failed = [], False
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        for number, found in enumerate(pool.map(lambda n: in_a_process(a, n), range(a.pairs))):
            ours, peer = found["mxq"], found["peer"]
            logs.append(math.log(ours / peer))
            failed |= not ours < nearest
            print(f"| {number + 1} | {peer:.3f} | {ours:.3f} | {ours / peer:.4f} | {found['peer seconds']:.0f} | {found['mxq seconds']:.0f} |",
                  flush=True)
    error = statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else 0
    mean = statistics.mean(logs)
    print(f"| mean | | | {math.exp(mean):.4f} +- {error:.4f} | | |")
    failed |= mean - error > math.log(1.01)
    sys.exit(failed)


if __name__ == "__main__":
    main()
