#!/usr/bin/env python3
"""quantize_smollm2.py MXQ MODEL: wall time and peak memory of whole jobs on SmolLM2-135M, nothing cached.

The paper's schemes with no forward pass (the streaming path), `mxq measure --sensitivity` (objective kl), and
`mxq quantize --bits 3.5` with all defaults; beside each what it is allowed to take on two cores. Last what sensitivities would take
by a plain loop in PyTorch: a forward pass of transformers for each of 210 matrices, 2 x 384 tokens, fp32, of which three are timed.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

JOBS = [
    ("weights alone, 12 schemes", ["quantize", "--bits", "3.25", "--objective", "rel", "--schemes", "paper", "--normalize", "none"], 30, 600),
    ("objective kl, fit mse", ["measure", "--sensitivity", "--fit", "mse", "--schemes", "b3g64"], 90, None),
    ("objective kl, fit gptq: its calibration text sampled too", ["measure", "--sensitivity", "--schemes", "b3g64"], 90, None),
    ("quantize with all defaults", ["quantize", "--bits", "3.5"], 180, None),
]
MATRICES = 210


def plain_loop(model):
    """Seconds, from three of the forward passes."""
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    folder, name = (model, None) if os.path.isdir(model) else os.path.split(os.path.abspath(model))
    plain = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    ids = torch.randint(plain.config.vocab_size, (2, 384), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain(ids)
        started = time.monotonic()
        for _ in range(3): plain(ids).logits.log_softmax(-1)
    print(f"| a plain PyTorch loop for objective kl: {MATRICES} forward passes, three timed | "
          f"{(time.monotonic() - started) / 3 * MATRICES:.0f} | | | | |", flush=True)


mxq, model = sys.argv[1:]
print("| job | wall, s | limit | of it | peak RSS, MiB | limit |")
print("|---|---|---|---|---|---|")
for name, (command, *flags), seconds, memory in JOBS:
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        process = subprocess.Popen([mxq, command, model, *flags, "-o", f"{folder}/out", "--no-cache", "--json", "--quiet"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        if status: sys.exit(f"{command}: {process.stderr.read()}")
    result = json.loads(out)
    parts = result["seconds"] if isinstance(result["seconds"], dict) else {}
    if "objective" in result:
        assert result["bytes"] <= result["budget_bytes"] and result["objective"]["gap"] == 0
    print(f"| {name} | {wall:.1f} | {seconds} | {', '.join(f'{phase} {took:.1f}' for phase, took in parts.items())} | "
          f"{usage.ru_maxrss / 1024:.0f} | {memory or ''} |", flush=True)
plain_loop(model)
