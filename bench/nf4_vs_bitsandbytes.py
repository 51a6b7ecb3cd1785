#!/usr/bin/env python3
"""Sets NF4 and FP4 of mxq beside the bitsandbytes package on a CPU, on the same matrices, in one run.

  nf4_vs_bitsandbytes.py BENCH_FIT MODEL.gguf [--layers 0,15,29] [--threads 2] [--repeat 5]

Quantizing and dequantizing with double quantization in blocks of 64, as GiB/s of fp32 weights, and the ratio to the package;
squared errors must be equal. Needs torch, bitsandbytes, numpy, gguf.
"""
import argparse, json, subprocess, sys, tempfile, time

import torch
from bitsandbytes import functional

from fit_vs_hqq import from_gguf, write


def least(repeat, body):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        body()
        times.append(time.perf_counter() - start)
    return min(times)


def package(matrices, kind, repeat):
    weights = [torch.from_numpy(w) for _, w in matrices]
    quantize = lambda: [functional.quantize_4bit(w, blocksize=64, quant_type=kind, compress_statistics=True) for w in weights]
    quantized = quantize()
    squared = sum(((w - functional.dequantize_4bit(*q)).double() ** 2).sum().item() for w, q in zip(weights, quantized))
    return least(repeat, quantize), least(repeat, lambda: [functional.dequantize_4bit(*q) for q in quantized]), squared


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('bench_fit'); parser.add_argument('model')
    parser.add_argument('--layers', default='0,15,29')
    parser.add_argument('--threads', type=int, default=2); parser.add_argument('--repeat', type=int, default=5)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    matrices = list(from_gguf(a.model, {int(x) for x in a.layers.split(',')}))
    with tempfile.NamedTemporaryFile() as file:
        write(matrices, file)
        done = subprocess.run([a.bench_fit, file.name, '--threads', str(a.threads), '--repeat', str(a.repeat), '--schemes', 'nf4g64,fp4g64'],
                              check=True, capture_output=True, text=True)
    ours = json.loads(done.stdout)
    gib = ours['weights'] * 4 / 2**30
    print(f'{gib:.2f} GiB of fp32 weights, {a.threads} threads')
    print('| | quantize, GiB/s | bitsandbytes | ratio | dequantize, GiB/s | bitsandbytes | ratio | squared error / package |')
    print('|---|---|---|---|---|---|---|---|')
    for kind in ('nf4', 'fp4'):
        mine = ours[f'{kind}g64']['rtn']
        there, back, squared = package(matrices, kind, a.repeat)
        print(f'| {kind}g64 | {gib / mine["seconds"]:.2f} | {gib / there:.2f} | {there / mine["seconds"]:.1f} | {gib / mine["back"]:.2f} | '
              f'{gib / back:.2f} | {back / mine["back"]:.1f} | {mine["squared_error"] / squared:.9f} |')
        if abs(mine['squared_error'] / squared - 1) > 1e-6: sys.exit(f'{kind}g64: the squared errors differ')


if __name__ == '__main__':
    main()
