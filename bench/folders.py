"""Folders of quantized models that `mxq eval` reads back: what mlx_vs_convert.py, compressed_tensors_vs_rtn.py and
onnx_vs_rtn.py share."""
import argparse, json, os, pathlib, subprocess, sys

import texts

ROOT = pathlib.Path(__file__).resolve().parents[1]


def call(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors='replace')
    if done.returncode: sys.exit(f'{" ".join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
    return done.stdout


def weight_bytes(folder):
    return sum(file.stat().st_size for ending in ('safetensors', 'onnx', 'onnx.data') for file in folder.glob(f'*.{ending}'))


class Bench:
    """Rows by name; those that are in --out already are not made again."""
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.rows = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
        texts.split(options.text, folder)

    def row(self, name, make):
        """`make` writes the folder that it is given; it may return the bytes that count, where they are not those of the weights' files."""
        if name in self.rows: return self.rows[name]
        folder = self.folder / name.replace(' ', '-')
        size = make(folder)
        done = json.loads(call(self.options.mxq, 'eval', folder, '--against', self.options.model, '--text', self.folder / 'scored.txt', '--tokens',
                               self.options.tokens, '--window', 512, '--base-logits', self.folder / 'base.logits', '--json', '--quiet'))
        kl = done['kl']
        self.rows[name] = {'bytes': size if isinstance(size, int) else weight_bytes(folder), 'perplexity': done['perplexity'],
                           'mean': kl['mean'], 'error': kl['mean_error'], 'median': kl['median'], '99 %': kl['p99'],
                           'same top': 100 * kl['top1_agreement']}
        if self.options.out: self.options.out.write_text(json.dumps(self.rows, indent=1) + '\n')
        return self.rows[name]

    def ours(self, name, format, size, *more):
        return self.row(name, lambda folder: call(self.options.mxq, 'quantize', self.options.model, '--format', format, '--size', size, *more,
                                                  '-o', folder, '--quiet'))


def heading(peer):
    return f'| folder | MB | mean KL | median | 99 % | same top | perplexity | mxq / {peer} |\n|---|---|---|---|---|---|---|---|'


def line(name, row, ratio=''):
    return (f'| {name} | {row["bytes"] / 1e6:.1f} | {row["mean"]:.4f} ± {row["error"]:.4f} | {row["median"]:.4f} | {row["99 %"]:.3f} | '
            f'{row["same top"]:.1f} % | {row["perplexity"]:.2f} | {ratio} |')


def parser(description, environment, has, tokens):
    """The options of both; `environment`: the one of build/ whose Python `has` the peer."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('mxq')
    options.add_argument('model', type=pathlib.Path)
    options.add_argument('--bits', default='3,4')
    options.add_argument('--group', type=int, default=64)
    shared = pathlib.Path(os.environ.get('MXQ_SHARED', ROOT.parent / 'shared'))
    options.add_argument('--text', type=pathlib.Path, default=shared / 'data/wikitext-2/test-joined.txt')
    options.add_argument('--tokens', type=int, default=tokens)
    options.add_argument('--python', default=ROOT / 'build' / environment / 'bin/python', help=f'one that has {has}')
    options.add_argument('--out', type=pathlib.Path)
    return options
