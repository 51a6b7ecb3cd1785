#!/usr/bin/env python3
"""Other grids than mxq's affine one, and rotations: what a Hadamard rotation of the input dimension and the grid that is optimal for a
Gaussian gain, alone and together with column scales (docs/decisions/0010).

  other_grids.py MXQ MODEL [--text FILE] [--out results.json] [--windows 16] [--seed 0]

Weights only, no calibration text. A method is what is done to a matrix W (rows x K), in this order, and the grid of its groups:
  columns    W / t, with the t that `mxq quantize --normalize columns` finds (fp16): the same for every grid
  hadamard   W R, R = blockdiag(D H), H the normalised Hadamard matrix of the largest power of two that divides K (576: 64,
             1536: 512), D random signs, the same for all matrices of one K
  mse        mxq's affine grid b2g64, ...: `--uniform SCHEME --fit mse`
  gaussian   2^B Lloyd-Max levels of N(0, 1) times a scale a group, without a zero. The scale has the least squared error over 10
             multiples of the group's root mean square, 4 rounds of least squares, and 3 neighbours of its 8-bit code; an fp16
             step for 128 groups. Groups are half as long as mse's, so that B + 8/G + 16/(128 G) bits per parameter are as many.
All is undone after quantization and MODEL is written with the resulting weights, so nothing here needs a kernel of its own. Text,
windows and KL divergence are those of quality.py. R and its application are counted neither as bytes nor as time; t is
16 / rows bits per parameter on top of the bits shown. Rows that are in --out already are not made again.
"""
import json, shutil, statistics, subprocess, sys

import torch
from safetensors.torch import load_file, save_file

from quality import NOMINAL, Bench, arguments, run

SCHEMES = ['b2g64', 'b3g64', 'b3g32', 'b4g64']
METHODS = ['mse', 'columns mse', 'hadamard mse', 'hadamard columns mse', 'columns hadamard mse',
           'gaussian', 'columns gaussian', 'hadamard gaussian', 'columns hadamard gaussian']
GROUPS_PER_STEP = 128


def lloyd_max(count, rounds=5000):
    """The levels of N(0, 1) with the least squared error: each the mean of what is nearest to it."""
    normal = statistics.NormalDist()
    levels = [normal.inv_cdf((i + 0.5) / count) for i in range(count)]
    for _ in range(rounds):
        edges = [-40.0, *((a + b) / 2 for a, b in zip(levels, levels[1:])), 40.0]
        levels = [(normal.pdf(a) - normal.pdf(b)) / (normal.cdf(b) - normal.cdf(a)) for a, b in zip(edges, edges[1:])]
    return torch.tensor(levels)


def gaussian(weight, levels, group):
    assert weight.shape[1] % group == 0
    x, edges = weight.reshape(-1, group), (levels[1:] + levels[:-1]) / 2

    def nearest(scale): return levels[torch.bucketize(x / scale, edges)]

    def best(scales):
        """Of candidate scales for every group, the one of least squared error."""
        errors = torch.stack([((nearest(s) * s - x) ** 2).sum(1, keepdim=True) for s in scales])
        return torch.stack(scales).gather(0, errors.argmin(0, keepdim=True))[0]

    rms = x.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
    scale = best([rms * factor for factor in torch.linspace(0.6, 1.5, 10)])
    for _ in range(4):
        q = nearest(scale)
        scale = ((x * q).sum(1, keepdim=True) / q.square().sum(1, keepdim=True)).clamp_min(1e-12)
    steps = torch.stack([part.max() for part in scale.split(GROUPS_PER_STEP)]) / 255
    step = steps.half().float().clamp_min(2**-24).repeat_interleave(GROUPS_PER_STEP)[:len(scale), None]
    code = (scale / step).round()
    scale = best([step * (code + change).clamp(1, 255) for change in (-1, 0, 1)])
    return (nearest(scale) * scale).reshape(weight.shape)


def rotation(size, seed):
    """x -> x R and x -> x R^T."""
    block, h = size & -size, torch.ones(1, 1)
    while len(h) < block: h = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), h)
    h /= block**0.5
    signs = torch.randint(2, (size,), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    turn = lambda x: (x.reshape(-1, block) @ h).reshape(x.shape)  # H is symmetric and its own inverse
    return lambda x: turn(x * signs), lambda x: turn(x) * signs


class OtherGrids(Bench):
    def __init__(self, options):
        super().__init__(options)
        self.tensors, self.levels = {}, {}
        for file in sorted(options.model.glob('*.safetensors')): self.tensors |= load_file(file)
        self.weights = {n: w.float() for n, w in self.tensors.items() if n.endswith('_proj.weight')}

    def write(self, weights, name):
        """MODEL with other weights, as a folder."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for file in self.o.model.iterdir():
            if file.suffix == '.json' and 'index' not in file.name: shutil.copy(file, folder)
        save_file(self.tensors | {n: w.contiguous() for n, w in weights.items()}, folder / 'model.safetensors', {'format': 'pt'})
        return folder

    def checkpoint(self, model, scheme, normalize='none'):
        folder = self.folder / 'checkpoint'
        run(self.o.mxq, 'quantize', model, '--uniform', scheme, '--fit', 'mse', '--normalize', normalize, '--calibration',
            'none', '--no-cache', '-o', folder, '--overwrite', '--json', '--quiet')
        return folder

    def quantized(self, weights, steps, scheme):
        step, *rest = steps
        if step == 'hadamard':
            turns = {k: rotation(k, self.o.seed) for k in {w.shape[1] for w in weights.values()}}
            found = self.quantized({n: turns[w.shape[1]][0](w) for n, w in weights.items()}, rest, scheme)
            return {n: turns[w.shape[1]][1](w) for n, w in found.items()}
        if step == 'columns':
            stored = load_file(self.checkpoint(self.write(weights, 'model'), 'b2g128', 'columns') / 'model.safetensors')
            t = {n: stored[n.removesuffix('.weight') + '.column_scales'].float() for n in weights}
            found = self.quantized({n: w / t[n] for n, w in weights.items()}, rest, scheme)
            return {n: w * t[n] for n, w in found.items()}
        if step == 'gaussian':
            bits, group = (int(part) for part in scheme[1:].split('g'))
            if bits not in self.levels: self.levels[bits] = lloyd_max(2**bits)
            return {n: gaussian(w, self.levels[bits], group // 2) for n, w in weights.items()}
        plain = self.folder / 'plain'
        subprocess.run([self.o.mxq, 'dequantize', self.checkpoint(self.write(weights, 'model'), scheme), '-o', plain, '--dtype',
                        'f32', '--overwrite', '--quiet'], check=True)
        found = load_file(plain / 'model.safetensors')
        return {n: found[n] for n in weights}

    def row(self, method, scheme):
        key = f'{method} {scheme} @{self.o.windows}' + (f' seed {self.o.seed}' if 'hadamard' in method and self.o.seed else '')
        if key not in self.rows:
            error = None
            if method == 'mse': out = self.checkpoint(self.o.model, scheme)
            elif method == 'columns mse': out = self.checkpoint(self.o.model, scheme, 'columns')
            else:
                weights = self.quantized(self.weights, method.split(), scheme)
                # Squared error over the sum of squares, of all matrices together.
                error = (sum(float((weights[n] - w).square().sum()) for n, w in self.weights.items()) /
                         sum(float(w.square().sum()) for w in self.weights.values()))
                out = self.write(weights, 'out')
            found = self.evaluate(out)
            self.rows[key] = {'kl': found['kl']['mean'], 'kl_error': found['kl']['mean_error'],
                              'perplexity': found['perplexity'], 'original': found['kl']['base_perplexity'], 'error': error}
            print(f'  {key}: KL {self.rows[key]["kl"]:.4f}', file=sys.stderr, flush=True)
            if self.o.out: self.o.out.write_text(json.dumps(self.rows, indent=1))
        return self.rows[key]


def main():
    parser = arguments(__doc__, 16)
    parser.add_argument('--seed', type=int, default=0)
    bench = OtherGrids(parser.parse_args())
    print('| bits | affine | ' + ' | '.join(METHODS) + ' |')
    print('|---|---|' + '---|' * len(METHODS))
    for scheme in SCHEMES:
        cells = [f'{bench.row(method, scheme)["kl"]:.3f}' for method in METHODS]
        print(f'| {NOMINAL[scheme]:.3f} | {scheme} | ' + ' | '.join(cells) + ' |', flush=True)


if __name__ == '__main__':
    main()
