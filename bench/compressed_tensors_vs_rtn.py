#!/usr/bin/env python3
"""Folders for compressed-tensors by mxq beside those of the package itself: what is lost in the same bytes.

  compressed_tensors_vs_rtn.py MXQ MODEL [--bits 3,4] [--group 64] [--text FILE] [--tokens 8192] [--out results.json]

MODEL is a folder of safetensors in one file. compressed_tensors_peer.py makes a folder in which each projection is rounded to nearest by
the package (symmetric, groups of G), and mxq one whose weights take at most the same bytes: `mxq quantize MODEL --format
compressed-tensors --size BYTES`. `mxq eval` reads both back and scores the first tokens of the held-out part of WikiText-2 (texts.py) in
windows of 512 against MODEL. Needs scripts/setup.sh --compressed-tensors. Rows that are in --out already are not made again. Exits 1
where mxq's file is larger than the one beside it, or loses more than TARGETS of it.
"""
import pathlib, sys, tempfile

from folders import Bench, call, heading, line, parser

TARGETS = {3: 0.25, 4: 0.4}  # by bits: mxq's mean / the package's
PEER = pathlib.Path(__file__).with_name('compressed_tensors_peer.py')


def main():
    options = parser(__doc__, 'compressed-tensors-venv', 'compressed-tensors', tokens=8192).parse_args()
    held = True
    with tempfile.TemporaryDirectory(prefix='mxq-compressed-tensors-') as folder:
        bench = Bench(options, pathlib.Path(folder))
        print(heading('the package'))
        for bits in map(int, options.bits.split(',')):
            theirs = bench.row(f'package b{bits}g{options.group}', lambda out: call(
                options.python, PEER, options.model, out, '--bits', bits, '--group', options.group))
            print(line(f'compressed-tensors, {bits} bits, g{options.group}', theirs), flush=True)
            ours, target = bench.ours(f'mxq {theirs["bytes"]}', 'compressed-tensors', theirs['bytes']), TARGETS.get(bits, 1)
            ratio = ours['mean'] / theirs['mean']
            held &= ours['bytes'] <= theirs['bytes'] and ratio <= target
            print(line('mxq', ours, f'{ratio:.2f} (at most {target})'), flush=True)
    sys.exit(0 if held else 1)


if __name__ == '__main__':
    main()
