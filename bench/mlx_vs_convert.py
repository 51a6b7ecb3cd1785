#!/usr/bin/env python3
"""Folders for MLX by mxq beside those of mlx_lm.convert: what is lost in the same bytes.

  mlx_vs_convert.py MXQ MODEL [--bits 3,4] [--group 64] [--metadata f16-bias,bf16-bias] [--text FILE] [--tokens 16384] [--out results.json]

MODEL is a folder of safetensors. `mlx_lm convert -q --q-bits B --q-group-size G` makes a folder, and mxq one whose weights take at
most the same bytes: `mxq quantize MODEL --format mlx --size BYTES`. `mxq eval` reads both back and scores the first tokens of the
held-out part of WikiText-2 (texts.py) in windows of 512 against MODEL: mean, median and 99 % of the KL divergence, and how often the
most likely token is the same. Needs mlx-lm (scripts/setup.sh --mlx). Rows that are in --out already are not made again. Exits 1 where
mxq's file is larger than the one beside it, or loses more than TARGET of it.
"""
import pathlib, sys, tempfile

from folders import Bench, call, heading, line, parser

TARGET = 0.35  # mxq's mean / mlx_lm.convert's


def main():
    arguments = parser(__doc__, 'mlx-venv', 'mlx-lm', tokens=16384)
    arguments.add_argument('--metadata', default='', help='f16-bias, bf16-bias or both; nothing: as usual for the model')
    options = arguments.parse_args()
    held = True
    with tempfile.TemporaryDirectory(prefix='mxq-mlx-') as folder:
        bench = Bench(options, pathlib.Path(folder))
        print(heading('mlx_lm.convert'))
        for bits in map(int, options.bits.split(',')):
            theirs = bench.row(f'mlx_lm.convert b{bits}g{options.group}', lambda out: call(
                options.python, '-m', 'mlx_lm', 'convert', '--hf-path', options.model, '-q', '--q-bits', bits, '--q-group-size', options.group,
                '--mlx-path', out))
            print(line(f'mlx_lm.convert, {bits} bits, g{options.group}', theirs), flush=True)
            for metadata in options.metadata.split(','):
                more = ('--metadata', metadata) if metadata else ()
                ours = bench.ours(f'mxq {metadata or "as usual"} {theirs["bytes"]}', 'mlx', theirs['bytes'], *more)
                ratio = ours['mean'] / theirs['mean']
                held &= ours['bytes'] <= theirs['bytes'] and ratio <= TARGET
                print(line(f'mxq{f", {metadata}" if metadata else ""}', ours, f'{ratio:.2f} (at most {TARGET})'), flush=True)
    sys.exit(0 if held else 1)


if __name__ == '__main__':
    main()
