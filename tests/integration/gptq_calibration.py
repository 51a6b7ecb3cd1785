"""What the comparisons of `--fit autogptq` share: mxq in fp32, its command, and the sequences that it calibrates on."""
import json
import os
import subprocess
import sys

SEQUENCES, TOKENS = 48, 384


def run(*command):
    # Where the processor has bf16 products too, mxq would take them, and the others know nothing of their rounding.
    fp32 = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([str(x) for x in command], capture_output=True, text=True, env=fp32)
    if done.returncode: sys.exit(done.stderr)
    return done.stdout


def bits_and_group(scheme):
    """Of "b3g128"."""
    return map(int, scheme[1:].split("g"))


def quantize(mxq, model, scheme, text, out, most=SEQUENCES):
    """`model` in `out` by GPTQ as published, calibrated on sequences(mxq, model, text, most)."""
    run(mxq, "quantize", model, "--uniform", scheme, "--fit", "autogptq", "--calibration", text, "--calibration-tokens", most * TOKENS,
        "-o", out, "--quiet")


def sequences(mxq, model, text, most=SEQUENCES):
    """Token ids, as mxq picks them from the file `text` with `--calibration-tokens` most * TOKENS."""
    ids = json.loads(run(mxq, "tokenize", model, "--text", text, "--json"))["ids"]
    count, spare = min(most, len(ids) // TOKENS), len(ids) - TOKENS
    return [ids[spare * i // (count - 1):][:TOKENS] for i in range(count)]
