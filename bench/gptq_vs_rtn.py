#!/usr/bin/env python3
"""Folders of GPTQ and AWQ by mxq beside those of GPTQModel's rounding to nearest: what is lost in the same bytes.

  gptq_vs_rtn.py MXQ MODEL [--bits 3,4] [--group 64] [--zeros] [--text FILE] [--tokens 8192] [--out results.json]

MODEL is a folder of safetensors in one file. gptq_peer.py makes a folder in which each projection is rounded to nearest by the package
(GPTQ, symmetric, 3 and 4 bits; AWQ, with zeros, 4 bits; groups of G), and mxq one whose weights take at most the same bytes: `mxq quantize
MODEL --format gptq --size BYTES`, and of AWQ, where every matrix has the same scheme, `--format awq --uniform b4gG`. --zeros adds mxq's GPTQ
with zeros of their own. `mxq eval` reads all back and scores the first tokens of the held-out part of WikiText-2 (texts.py) in windows of
512 against MODEL. Needs scripts/setup.sh --gptqmodel. Rows that are in --out already are not made again. Exits 1 where a file of mxq is
larger than the one beside it, or the better of mxq's two loses more than TARGETS of it.
"""
import pathlib, sys, tempfile

from folders import Bench, call, heading, line, parser

TARGETS = {3: 0.25, 4: 0.4}  # by bits: mxq's mean / the package's
PEER = pathlib.Path(__file__).with_name('gptq_peer.py')


def main():
    arguments = parser(__doc__, 'gptq-venv', 'gptqmodel', tokens=8192)
    arguments.add_argument('--zeros', action='store_true', help='GPTQ with --zero-point integer too')
    options = arguments.parse_args()
    held = True
    with tempfile.TemporaryDirectory(prefix='mxq-gptq-') as folder:
        bench = Bench(options, pathlib.Path(folder))
        print(heading('the package'))

        def package(format, bits):
            theirs = bench.row(f'package {format} b{bits}g{options.group}', lambda out: call(
                options.python, PEER, options.model, out, '--format', format, '--bits', bits, '--group', options.group))
            print(line(f'GPTQModel, {format}, {bits} bits, g{options.group}', theirs), flush=True)
            return theirs

        def beside(theirs, bits, ours):
            """`ours`: rows by name."""
            nonlocal held
            for name, row in ours.items():
                print(line(name, row, f'{row["mean"] / theirs["mean"]:.2f} (at most {TARGETS.get(bits, 1)})'), flush=True)
            held &= all(row['bytes'] <= theirs['bytes'] for row in ours.values())
            held &= min(row['mean'] for row in ours.values()) <= TARGETS.get(bits, 1) * theirs['mean']

        for bits in map(int, options.bits.split(',')):
            theirs = package('gptq', bits)
            ours = {'mxq, gptq': bench.ours(f'mxq gptq {theirs["bytes"]}', 'gptq', theirs['bytes'])}
            if options.zeros:
                ours['mxq, gptq, `--zero-point integer`'] = bench.ours(f'mxq gptq integer {theirs["bytes"]}', 'gptq', theirs['bytes'],
                                                                        '--zero-point', 'integer')
            beside(theirs, bits, ours)
        if '4' in options.bits.split(','):
            theirs, uniform = package('awq', 4), ('--uniform', f'b4g{options.group}')
            ours = bench.row(f'mxq awq b4g{options.group}', lambda out: call(
                options.mxq, 'quantize', options.model, '--format', 'awq', *uniform, '-o', out, '--quiet'))
            beside(theirs, 4, {'mxq, awq': ours})
    sys.exit(0 if held else 1)


if __name__ == '__main__':
    main()
