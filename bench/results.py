#!/usr/bin/env python3
"""Every method that mxq has, side by side: what each loses at 3 and 4 bits in groups of 32, 64 and 128. Prints docs/results.md.

  results.py MXQ MODEL [--text FILE] [--windows 64] [--out results.json] > docs/results.md

Rows are made and scored as in quality.py, on its text and windows; calibration texts are the part of it that is not scored. Rows that are
in --out already are not made again: one file of rows is one run. Nothing is taken from a cache but the sensitivities that the plans share.
"""
import math, shutil

from quality import Bench, arguments

NONE = ['--normalize', 'none']
# Name, flags, and how the scheme is called (None: no such scheme), by bits and group.
METHODS = [
    ('round to nearest', ['--fit', 'rtn'], 'b{0}g{1}'),
    ('HQQ', ['--fit', 'hqq'], 'b{0}g{1}'),
    ('SINQ', ['--fit', 'sinq'], 'b{0}g{1}'),
    ('FP4, bitsandbytes', [], {4: 'fp4g{1}'}),
    ('NF4, bitsandbytes', [], {4: 'nf4g{1}'}),
    ('Gaussian grid', ['--fit', 'mse', *NONE], 'gauss{0}g{1}'),
    ('k-means grid', ['--fit', 'mse', *NONE], 'km{0}g{1}'),
    ('Gaussian grid, rotated', ['--fit', 'mse', '--normalize', 'rotation'], 'gauss{0}g{1}'),
    ('least squares', ['--fit', 'mse', *NONE], 'b{0}g{1}'),
    ('least squares, rotated', ['--fit', 'mse', '--normalize', 'rotation'], 'b{0}g{1}'),
    ('AWQ as published, WikiText-2', ['--fit', 'awq', '--calibration', 'WIKITEXT'], 'b{0}g{1}'),
    ('GPTQ as published, WikiText-2', ['--fit', 'autogptq', '--calibration', 'WIKITEXT'], 'b{0}g{1}'),
    ('**mxq, uniform**: GPTQ, rotated, own text', ['--fit', 'gptq', '--normalize', 'rotation'], 'b{0}g{1}'),
]
PLAN = '**mxq, planned** for the bytes of the one above'
HEAD = '''# Results

SmolLM2-135M (the de-gridded copy of [quality.md](quality.md), whose weights lie on no grid), every projection quantized by one method, embeddings
and norms as they are: perplexity and KL divergence from the original on {windows} windows of 512 tokens of WikiText-2 that neither calibration nor
distillation has seen, where the original has a perplexity of {original:.2f}; stored bytes of the projections as bits a weight, metadata included;
seconds of `mxq quantize` on two cores, measuring, sampling and calibrating included (of plans without the sensitivities, 65 to 100 s once); its
peak memory. Single figures are good to some percent: what a model that lost much says is partly chance. Made by `bench/results.py`.

Scales are stored in 8 bits (NF4 and FP4: double quantization), but for GPTQ as published, whose scales and zeros take 16 bits each. "Own text" is
sampled by the model: no data. What each method is: [algorithms.md](algorithms.md).
'''


def main():
    o = arguments(__doc__, 64).parse_args()
    b = Bench(o)
    tables, original = [], None
    for bits in (4, 3):
        for group in (32, 64, 128):
            lines = [f'\n## {bits} bits, groups of {group}\n', '| method | flags | perplexity | KL | bits a weight | seconds | peak MiB |', '|---|---|---|---|---|---|---|']

            def line(name, row, flags):
                seconds, mib = sum(row['seconds'].values()), row['peak_rss_bytes'] / 2**20
                shown = ' '.join(flags).replace('WIKITEXT', 'FILE')
                lines.append(f'| {name} | `{shown}` | {row["perplexity"]:.2f} | {row["kl"]:.4f} | {row["bits"]:.3f} | {seconds:.0f} | {mib:.0f} |')

            for name, flags, scheme in METHODS:
                if isinstance(scheme, dict): scheme = scheme.get(bits)
                if scheme is None: continue
                flags = ['--uniform', scheme.format(bits, group), *flags]
                row = b.row(*flags, '--no-cache')
                line(name, row, flags)
                original = row['original']
            flags = ['--bits', f'{math.ceil(row["bits"] * 1e4 - 1e-6) / 1e4:.4f}']
            line(PLAN, b.row(*flags), flags)
            tables += lines
    print(HEAD.format(windows=o.windows, original=original) + '\n'.join(tables))
    shutil.rmtree(b.folder)


if __name__ == '__main__':
    main()
