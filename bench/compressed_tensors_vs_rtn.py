#!/usr/bin/env python3
"""Folders for compressed-tensors by mxq beside those of the package itself: what is lost in the same bytes.

  compressed_tensors_vs_rtn.py MXQ MODEL [--bits 3,4] [--group 64] [--text FILE] [--tokens 8192] [--out results.json]

MODEL is a folder of safetensors in one file. compressed_tensors_peer.py makes a folder in which each projection is rounded to nearest by
the package (symmetric, groups of G), and mxq one whose weights take at most the same bytes: `mxq quantize MODEL --format
compressed-tensors --size BYTES`. `mxq eval` reads both back and scores the first tokens of the held-out part of WikiText-2 (texts.py) in
windows of 512 against MODEL. Needs scripts/setup.sh --compressed-tensors. Rows that are in --out already are not made again. Exits 1
where mxq's file is larger than the one beside it, or loses more than TARGETS of it.
"""
import argparse, json, os, pathlib, subprocess, sys, tempfile

import texts

TARGETS = {3: 0.25, 4: 0.4}  # by bits: mxq's mean / the package's


def call(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors='replace')
    if done.returncode: sys.exit(f'{" ".join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
    return done.stdout


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.rows = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
        texts.split(options.text, folder)

    def row(self, name, make):
        if name in self.rows: return self.rows[name]
        folder = self.folder / name.replace(' ', '-')
        make(folder)
        done = json.loads(call(self.options.mxq, 'eval', folder, '--against', self.options.model, '--text', self.folder / 'scored.txt', '--tokens',
                               self.options.tokens, '--window', 512, '--base-logits', self.folder / 'base.logits', '--json', '--quiet'))
        kl = done['kl']
        self.rows[name] = {'bytes': sum(file.stat().st_size for file in folder.glob('*.safetensors')), 'perplexity': done['perplexity'],
                           'mean': kl['mean'], 'error': kl['mean_error'], 'median': kl['median'], '99 %': kl['p99'],
                           'same top': 100 * kl['top1_agreement']}
        if self.options.out: self.options.out.write_text(json.dumps(self.rows, indent=1) + '\n')
        return self.rows[name]

    def theirs(self, bits):
        peer = pathlib.Path(__file__).with_name('compressed_tensors_peer.py')
        return self.row(f'package b{bits}g{self.options.group}', lambda folder: call(
            self.options.python, peer, self.options.model, folder, '--bits', bits, '--group', self.options.group))

    def ours(self, size):
        return self.row(f'mxq {size}', lambda folder: call(
            self.options.mxq, 'quantize', self.options.model, '--format', 'compressed-tensors', '--size', size, '-o', folder, '--quiet'))


def line(name, row, ratio=''):
    return (f'| {name} | {row["bytes"] / 1e6:.1f} | {row["mean"]:.4f} ± {row["error"]:.4f} | {row["median"]:.4f} | {row["99 %"]:.3f} | '
            f'{row["same top"]:.1f} % | {row["perplexity"]:.2f} | {ratio} |')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('mxq')
    parser.add_argument('model', type=pathlib.Path)
    root = pathlib.Path(__file__).resolve().parents[1]
    parser.add_argument('--bits', default='3,4')
    parser.add_argument('--group', type=int, default=64)
    shared = pathlib.Path(os.environ.get('MXQ_SHARED', root.parent / 'shared'))
    parser.add_argument('--text', type=pathlib.Path, default=shared / 'data/wikitext-2/test-joined.txt')
    parser.add_argument('--tokens', type=int, default=8192)
    parser.add_argument('--python', default=root / 'build/compressed-tensors-venv/bin/python', help='one that has compressed-tensors')
    parser.add_argument('--out', type=pathlib.Path)
    options = parser.parse_args()
    held = True
    with tempfile.TemporaryDirectory(prefix='mxq-compressed-tensors-') as folder:
        bench = Bench(options, pathlib.Path(folder))
        print('| folder | MB | mean KL | median | 99 % | same top | perplexity | mxq / the package |\n|---|---|---|---|---|---|---|---|')
        for bits in map(int, options.bits.split(',')):
            theirs = bench.theirs(bits)
            print(line(f'compressed-tensors, {bits} bits, g{options.group}', theirs), flush=True)
            ours, target = bench.ours(theirs['bytes']), TARGETS.get(bits, 1)
            ratio = ours['mean'] / theirs['mean']
            held &= ours['bytes'] <= theirs['bytes'] and ratio <= target
            print(line('mxq', ours, f'{ratio:.2f} (at most {target})'), flush=True)
    sys.exit(0 if held else 1)


if __name__ == '__main__':
    main()
