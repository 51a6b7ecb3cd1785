#!/usr/bin/env python3
"""Whether the default's advantage holds on more than one model and more than one text: beside uniform hqq at the same bytes.

  generality.py MXQ MODEL... [--text FILE] [--code FILE] [--windows 16] [--out results.json]

MODEL is a folder or a .gguf. A .gguf is brought to a folder in its own dtype first, so that all models start from plain weights.
Every checkpoint is evaluated on windows of 512 tokens of WikiText-2 (--text; the part that no calibration of bench/ sees), as
many of C++ source (--code; PyTorch's headers, as scripts/setup.sh --peers installs them), and 16 texts of 256 tokens that the
model samples itself, with another seed than calibrations have. Rows that are in --out already are not made again.
Prints a table a model, and the targets that it meets or misses. Exits 1 where the prediction is off by more than 1.5 times on
the model's own text.
"""
import argparse, json, os, pathlib, shutil, sys, tempfile

import quality, texts

SCHEMES = ['b3g64', 'b4g64']
TARGETS = {'b3g64': 0.25, 'b4g64': 0.22}  # default / uniform hqq on WikiText-2
PREDICTED_WITHIN = 1.5
HEADERS = ['ATen/core/ivalue_inl.h', 'ATen/core/jit_type.h', 'ATen/core/TensorBase.h']
OWN = ['--self', '--sequences', 16, '--tokens', 256, '--seed', 20261129]


def default_code(folder):
    """C++ that is the same wherever the same PyTorch is installed."""
    for root in sys.path:
        headers = [pathlib.Path(root, 'torch/include', name) for name in HEADERS]
        if all(header.exists() for header in headers):
            code = folder / 'code.txt'
            code.write_text(''.join(header.read_text(encoding='utf-8') for header in headers), encoding='utf-8')
            return code
    sys.exit('no PyTorch here whose headers could be the code: scripts/setup.sh --peers, or --code FILE')


class Bench:
    def __init__(self, options, folder):
        self.o, self.folder = options, folder
        self.rows = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
        texts.split(options.text, folder)
        windows = ['--window', 512, '--stride', 512, '--tokens', 512 * options.windows]
        self.texts = {'WikiText-2': ['--text', folder / 'scored.txt', *windows],
                      'C++': ['--text', options.code or default_code(folder), *windows], 'its own': OWN}

    def folder_of(self, model):
        if model.is_dir(): return model
        folder = self.folder / 'model'
        shutil.rmtree(folder, ignore_errors=True)
        quality.run(self.o.mxq, 'dequantize', model, '-o', folder, '--json', '--quiet')
        return folder

    def evaluate(self, checkpoint, model):
        found = {}
        for text, flags in self.texts.items():
            result = quality.run(self.o.mxq, 'eval', checkpoint, '--against', model, *flags, '--compute', 'auto', '--json', '--quiet')
            found[text] = {'kl': result['kl']['mean'], 'error': result['kl']['mean_error']}
        return found

    def row(self, name, model, *flags):
        key = ' '.join([name, *map(str, flags), f'@{self.o.windows}'])
        if key not in self.rows:
            out = self.folder / 'out'
            made = quality.run(self.o.mxq, 'quantize', model(), *flags, '-o', out, '--overwrite', '--json', '--quiet')
            self.rows[key] = {'texts': self.evaluate(out, model()), 'bits': made['bits_per_parameter'],
                              'predicted': made['objective']['value']}
            shutil.rmtree(out)
            print(f'  {key}: ' + ', '.join(f'{t} {v["kl"]:.4f}' for t, v in self.rows[key]['texts'].items()), file=sys.stderr, flush=True)
            if self.o.out: self.o.out.write_text(json.dumps(self.rows, indent=1))
        return self.rows[key]


def table(bench, model):
    """True where predictions hold."""
    name, made = model.name, []

    def folder():
        if not made: made.append(bench.folder_of(model))
        return made[0]

    print(f'\n{name}\n\n| bits | text | hqq, uniform | default | default / hqq | target | default / predicted |')
    print('|---|---|---|---|---|---|---|')
    held = True
    for scheme in SCHEMES:
        hqq = bench.row(name, folder, '--uniform', scheme, '--fit', 'hqq', '--normalize', 'none')
        default = bench.row(name, folder, '--bits', round(hqq['bits'], 4))
        for text, loss in default['texts'].items():
            ratio = loss['kl'] / hqq['texts'][text]['kl']
            target = TARGETS[scheme] if text == 'WikiText-2' else None
            of_predicted = loss['kl'] / default['predicted']
            if text == 'its own': held &= 1 / PREDICTED_WITHIN <= of_predicted <= PREDICTED_WITHIN
            print(f'| {hqq["bits"]:.3f} | {text} | {hqq["texts"][text]["kl"]:.4f} | {loss["kl"]:.4f} +- {loss["error"]:.4f} | '
                  f'{ratio:.2f} | {"" if target is None else f"{target}" if ratio <= target else f"{target}, MISSED"} | {of_predicted:.2f} |',
                  flush=True)
    return held


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('mxq')
    parser.add_argument('models', nargs='+', type=pathlib.Path)
    shared = pathlib.Path(os.environ.get('MXQ_SHARED', pathlib.Path(__file__).resolve().parents[2] / 'shared'))
    parser.add_argument('--text', type=pathlib.Path, default=shared / 'data/wikitext-2/test-joined.txt')
    parser.add_argument('--code', type=pathlib.Path)
    parser.add_argument('--windows', type=int, default=16)
    parser.add_argument('--out', type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='mxq-generality-') as folder:
        bench = Bench(options, pathlib.Path(folder))
        sys.exit(0 if all([table(bench, model) for model in options.models]) else 1)


if __name__ == '__main__':
    main()
