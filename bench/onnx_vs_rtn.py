#!/usr/bin/env python3
"""Folders for onnxruntime by mxq beside onnxruntime's own quantizer: what is lost in the same bytes.

  onnx_vs_rtn.py MXQ MODEL [--bits 4] [--groups 32,64] [--text FILE] [--tokens 8192] [--out results.json]

MODEL is a folder of safetensors in one file. onnx_peer.py rounds each projection and the embedding to nearest with MatMulNBitsQuantizer
(groups of G, zeros that are codes), and mxq makes a folder whose files of graph and weights take at most the same bytes: `mxq quantize MODEL
--format onnx --size BYTES`. `mxq eval` scores the weights of both on the first tokens of the held-out part of WikiText-2 (texts.py) in
windows of 512 against MODEL. Needs scripts/setup.sh --onnx. Rows that are in --out already are not made again. Exits 1 where mxq's files
are larger than what they stand beside, or lose more than TARGET of it.
"""
import pathlib, sys, tempfile

from folders import Bench, call, heading, line, parser

TARGET = 0.4  # mxq's mean / the quantizer's
PEER = pathlib.Path(__file__).with_name('onnx_peer.py')


def main():
    arguments = parser(__doc__, 'onnx-venv', 'onnxruntime', tokens=8192)
    arguments.set_defaults(bits='4')
    arguments.add_argument('--groups', default='32,64')
    options = arguments.parse_args()
    held = True
    with tempfile.TemporaryDirectory(prefix='mxq-onnx-') as folder:
        bench = Bench(options, pathlib.Path(folder))
        print(heading('MatMulNBitsQuantizer'))
        for bits in map(int, options.bits.split(',')):
            for group in map(int, options.groups.split(',')):
                theirs = bench.row(f'MatMulNBitsQuantizer b{bits}g{group}', lambda out: int(call(
                    options.python, PEER, options.model, out, '--bits', bits, '--group', group)))
                print(line(f'MatMulNBitsQuantizer, {bits} bits, g{group}', theirs), flush=True)
                ours = bench.ours(f'mxq {theirs["bytes"]}', 'onnx', theirs['bytes'])
                ratio = ours['mean'] / theirs['mean']
                held &= ours['bytes'] <= theirs['bytes'] and ratio <= TARGET
                print(line('mxq', ours, f'{ratio:.2f} (at most {TARGET})'), flush=True)
    sys.exit(0 if held else 1)


if __name__ == '__main__':
    main()
