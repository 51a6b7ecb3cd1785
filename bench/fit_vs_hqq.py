#!/usr/bin/env python3
"""Sets the affine fits of mxq beside the hqq package on the same matrices, in one run.

  fit_vs_hqq.py BENCH_FIT MODEL.gguf|MATRICES.npz [--layers 0,15,29] [--axis 1] [--threads 2] [--repeat 3] [--max-weights N]

GGUF matrices lie on a 4-bit grid, which flatters a quantizer with the same grid: uniform dither of one grid step is added.
Prints a line for each of the 12 schemes: seconds of the hqq package and of mxq (hqq fit with fp32 metadata; mse fit with 8-bit metadata),
and squared errors as ratios to the package's; then medians. Needs torch, hqq, numpy; gguf for a GGUF model.
"""
import argparse, json, statistics, subprocess, tempfile, time
import numpy as np


def from_gguf(path, layers):
    from gguf import GGUFReader
    from gguf.quants import dequantize
    rng = np.random.default_rng(7)
    for tensor in GGUFReader(path).tensors:
        parts = tensor.name.split('.')
        if parts[0] != 'blk' or len(tensor.shape) != 2 or int(parts[1]) not in layers: continue
        w = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        x = w.reshape(-1, 32)
        s = np.sort(x, 1)
        span, gap = s[:, -1:] - s[:, :1], np.diff(s, axis=1)
        step = np.where(gap > span / 40, gap, np.inf).min(1, keepdims=True)
        step = np.where(np.isfinite(step), step, 0)
        yield tensor.name, (x + (rng.random(x.shape) - 0.5) * step).reshape(w.shape).astype(np.float32)


def write(matrices, file):
    for name, w in matrices:
        encoded = name.encode()
        file.write(np.int64(len(encoded)).tobytes() + encoded + np.array(w.shape, np.int64).tobytes() + w.tobytes())
    file.flush()


def hqq_package(matrices, bits, group, axis, repeat):
    import torch
    from hqq.core.quantize import Quantizer
    seconds = squared = 0
    for _, w in matrices:
        x, best = torch.from_numpy(w), float('inf')
        for _ in range(repeat):
            start = time.perf_counter()
            q, meta = Quantizer.quantize(x, nbits=bits, group_size=group, optimize=True, axis=axis, view_as_float=False,
                                         device='cpu', compute_dtype=torch.float32)
            best = min(best, time.perf_counter() - start)
        meta['compute_dtype'] = torch.float32
        squared += ((x - Quantizer.dequantize(q, meta)).double() ** 2).sum().item()
        seconds += best
    return seconds, squared


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('bench_fit')
    parser.add_argument('model')
    parser.add_argument('--layers', default='0,15,29')
    parser.add_argument('--axis', type=int, default=1)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--max-weights', type=int, default=1 << 62)
    a = parser.parse_args()
    import torch
    torch.set_num_threads(a.threads)
    if a.model.endswith('.gguf'):
        found = from_gguf(a.model, {int(x) for x in a.layers.split(',')})
    else:
        found = ((k, v.astype(np.float32)) for k, v in np.load(a.model).items())
    matrices, total = [], 0
    for name, w in found:
        if total + w.size > a.max_weights: continue
        matrices.append((name, w))
        total += w.size
    with tempfile.NamedTemporaryFile(suffix='.bin') as file:
        write(matrices, file)
        ours = json.loads(subprocess.run([a.bench_fit, file.name, '--threads', str(a.threads), '--repeat', str(a.repeat),
                                          '--axis', str(a.axis)], check=True, capture_output=True, text=True).stdout)
    print(f'{len(matrices)} matrices, {total} weights, axis {a.axis}, {a.threads} threads')
    print('scheme   hqq package  mxq hqq   speed-up  mxq mse  mse/hqq  error hqq/package  error mse/package')
    rows = []
    for scheme in (k for k in ours if k.startswith('b') and 'g' in k):
        bits, group = map(int, scheme[1:].split('g'))
        seconds, squared = hqq_package(matrices, bits, group, a.axis, a.repeat)
        hqq, mse = ours[scheme]['hqq'], ours[scheme]['mse']
        row = (seconds, hqq['seconds'], seconds / hqq['seconds'], mse['seconds'], mse['seconds'] / hqq['seconds'],
               hqq['squared_error'] / squared, mse['squared_error'] / squared)
        rows.append(row)
        print('{:8} {:9.3f} s {:8.4f} s {:8.1f} {:8.4f} s {:7.2f} {:13.4f} {:18.4f}'.format(scheme, *row), flush=True)
    print('median   {:9.3f} s {:8.4f} s {:8.1f} {:8.4f} s {:7.2f} {:13.4f} {:18.4f}'.format(*map(statistics.median, zip(*rows))))
    print(f"all 12 schemes measured with mse: {ours['measure_12_mse']:.3f} s; dequantized at b4g64: {ours['b4g64']['mse']['back']:.4f} s")


if __name__ == '__main__':
    main()
