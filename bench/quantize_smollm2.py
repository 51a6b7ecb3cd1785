#!/usr/bin/env python3
"""quantize_smollm2.py MXQ MODEL: wall time and peak memory of one whole `mxq quantize --bits 3.25`, nothing cached."""
import json
import resource
import subprocess
import sys
import tempfile
import time

mxq, model = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    started = time.monotonic()
    done = subprocess.run([mxq, "quantize", model, "--bits", "3.25", "--objective", "rel", "-o", f"{folder}/out", "--no-cache", "--json"],
                          capture_output=True, text=True, check=True)
    wall = time.monotonic() - started
result = json.loads(done.stdout)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
weights = 106_168_320
print(f"wall {wall:.1f} s (limit 30 s), peak RSS {peak:.0f} MiB (limit 600 MiB)")
print(f"plan {result['bytes']} bytes <= budget {result['budget_bytes']}, gap {result['objective']['gap']}")
for phase, seconds in result["seconds"].items():
    print(f"  {phase:9} {seconds:8.3f} s")
print(f"  {12 * weights / result['seconds']['measure'] / 1e6:.0f} M weights a second through the mse fit, 12 schemes")
