#!/usr/bin/env python3
"""Folders for MLX by mxq beside those of mlx_lm.convert: what is lost in the same bytes.

  mlx_vs_convert.py MXQ MODEL [--bits 3,4] [--group 64] [--metadata f16-bias,bf16-bias] [--text FILE] [--tokens 16384] [--out results.json]

MODEL is a folder of safetensors. `mlx_lm convert -q --q-bits B --q-group-size G` makes a folder, and mxq one whose weights take at
most the same bytes: `mxq quantize MODEL --format mlx --size BYTES`. `mxq eval` reads both back and scores the first tokens of the
held-out part of WikiText-2 (texts.py) in windows of 512 against MODEL: mean, median and 99 % of the KL divergence, and how often the
most likely token is the same. Needs mlx-lm (scripts/setup.sh --mlx). Rows that are in --out already are not made again. Exits 1 where
mxq's file is larger than the one beside it, or loses more than TARGET of it.
"""
import argparse, json, os, pathlib, subprocess, sys, tempfile

import texts

TARGET = 0.35  # mxq's mean / mlx_lm.convert's


def call(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors='replace')
    if done.returncode: sys.exit(f'{" ".join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
    return done.stdout


def weights(folder):
    return sum(file.stat().st_size for file in folder.glob('*.safetensors'))


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
        self.rows[name] = {'bytes': weights(folder), 'perplexity': done['perplexity'], 'mean': kl['mean'], 'error': kl['mean_error'],
                           'median': kl['median'], '99 %': kl['p99'], 'same top': 100 * kl['top1_agreement']}
        if self.options.out: self.options.out.write_text(json.dumps(self.rows, indent=1) + '\n')
        return self.rows[name]

    def theirs(self, bits):
        return self.row(f'mlx_lm.convert b{bits}g{self.options.group}', lambda folder: call(
            self.options.python, '-m', 'mlx_lm', 'convert', '--hf-path', self.options.model, '-q', '--q-bits', bits, '--q-group-size',
            self.options.group, '--mlx-path', folder))

    def ours(self, size, metadata):
        more = ('--metadata', metadata) if metadata else ()
        return self.row(f'mxq {metadata or "as usual"} {size}', lambda folder: call(
            self.options.mxq, 'quantize', self.options.model, '--format', 'mlx', '--size', size, *more, '-o', folder, '--quiet'))


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
    parser.add_argument('--metadata', default='', help='f16-bias, bf16-bias or both; nothing: as usual for the model')
    shared = pathlib.Path(os.environ.get('MXQ_SHARED', root.parent / 'shared'))
    parser.add_argument('--text', type=pathlib.Path, default=shared / 'data/wikitext-2/test-joined.txt')
    parser.add_argument('--tokens', type=int, default=16384)
    parser.add_argument('--python', default=root / 'build/mlx-venv/bin/python', help='one that has mlx-lm')
    parser.add_argument('--out', type=pathlib.Path)
    options = parser.parse_args()
    held = True
    with tempfile.TemporaryDirectory(prefix='mxq-mlx-') as folder:
        bench = Bench(options, pathlib.Path(folder))
        print('| folder | MB | mean KL | median | 99 % | same top | perplexity | mxq / mlx_lm.convert |\n|---|---|---|---|---|---|---|---|')
        for bits in map(int, options.bits.split(',')):
            theirs = bench.theirs(bits)
            print(line(f'mlx_lm.convert, {bits} bits, g{options.group}', theirs), flush=True)
            for metadata in options.metadata.split(','):
                ours = bench.ours(theirs['bytes'], metadata)
                ratio = ours['mean'] / theirs['mean']
                held &= ours['bytes'] <= theirs['bytes'] and ratio <= TARGET
                print(line(f'mxq{f", {metadata}" if metadata else ""}', ours, f'{ratio:.2f} (at most {TARGET})'), flush=True)
    sys.exit(0 if held else 1)


if __name__ == '__main__':
    main()
