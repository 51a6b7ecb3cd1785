#!/usr/bin/env python3
"""quantize_smollm2.py MXQ MODEL: wall time and peak memory of whole jobs on SmolLM2-135M, nothing cached.

The paper's schemes with no forward pass (the streaming path), `mxq measure --sensitivity` (objective kl), and
`mxq quantize --bits 3.5` with all defaults; beside each what it is allowed to take on two cores.
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
