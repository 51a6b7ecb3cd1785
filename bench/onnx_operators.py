#!/usr/bin/env python3
"""What onnxruntime's MatMulNBits costs on the CPU, and what its rounding of inputs does to a model.

  onnx_operators.py [--folder FOLDER --mxq MXQ [--text FILE] [--tokens 512]]     in the environment of scripts/setup.sh --onnx

Without a folder: of a 1,536 x 1,536 matrix in blocks of 32, by bits, zeros (none, codes, numbers of their own) and accuracy_level (1: inputs
stay in fp32, 4: they are rounded to 8 bits), milliseconds of one input row and of 64 on one thread, and the largest error as a share of the
largest output. With one, of `mxq quantize --format onnx`: mean KL divergence of its logits on the first tokens of the held-out part of
WikiText-2 (texts.py), by which of its matrices have their inputs rounded, from those where none has.
"""
import argparse, os, pathlib, subprocess, tempfile, time

import numpy, onnx, onnxruntime
from onnx import helper, numpy_helper

import texts

ROOT = pathlib.Path(__file__).resolve().parents[1]


def pack(codes, bits):
    rows = ((codes[..., None] >> numpy.arange(bits)) & 1).reshape(*codes.shape[:-1], -1)
    return numpy.packbits(rows.astype(numpy.uint8), axis=-1, bitorder='little')


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def operator(bits, zeros, level, size=1536, block=32):
    rng = numpy.random.default_rng(0)
    codes = rng.integers(0, 1 << bits, (size, size // block, block), dtype=numpy.uint8)
    scales = (rng.standard_normal((size, size // block)) * 0.02).astype(numpy.float32)
    middle = {'none': numpy.full(scales.shape, 1 << (bits - 1)), 'codes': rng.integers(0, 1 << bits, scales.shape),
              'numbers': rng.random(scales.shape) * (1 << bits)}[zeros].astype(numpy.float32)
    constants = {'b': pack(codes, bits), 's': scales}
    if zeros == 'codes': constants['z'] = pack(middle.astype(numpy.uint8), bits)
    if zeros == 'numbers': constants['z'] = middle
    node = helper.make_node('MatMulNBits', ['x', *constants], ['y'], domain='com.microsoft', N=size, K=size, bits=bits, block_size=block,
                            accuracy_level=level)
    value = helper.make_tensor_value_info
    graph = helper.make_graph([node], 'g', [value('x', 1, ['n', size])], [value('y', 1, ['n', size])],
                              [numpy_helper.from_array(v, k) for k, v in constants.items()])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid('', 21), helper.make_opsetid('com.microsoft', 1)])
    weights = ((codes - middle[..., None]) * scales[..., None]).reshape(size, size).astype(numpy.float32)
    try:
        run = session(model.SerializeToString())
    except Exception as error:
        return str(error).strip().splitlines()[-1][-90:]
    cells = []
    for rows in (1, 64):
        x = rng.standard_normal((rows, size)).astype(numpy.float32)
        y, best = run.run(None, {'x': x})[0], 1e9
        for _ in range(10):
            begin = time.perf_counter()
            run.run(None, {'x': x})
            best = min(best, time.perf_counter() - begin)
        wanted = x @ weights.T
        cells.append(f'{1e3 * best:.2f} | {numpy.abs(y - wanted).max() / numpy.abs(wanted).max():.0e}')
    return ' | '.join(cells)


def log_softmax(logits):
    shifted = logits.astype(numpy.float64) - logits.max(-1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(-1, keepdims=True))


def model_logits(folder, rounds, ids):
    """`rounds` says of a MatMulNBits whether its inputs are rounded."""
    model = onnx.load(folder / 'model.onnx', load_external_data=False)
    for node in model.graph.node:
        if node.op_type != 'MatMulNBits': continue
        attributes = {a.name: a for a in node.attribute}
        attributes['accuracy_level'].i = 4 if rounds(node.name, attributes['bits'].i) else 1
    path = folder / 'bench.onnx'
    onnx.save(model, path)
    try:
        run = session(path)
    finally:
        path.unlink()
    past = {v.name: numpy.zeros((1, v.shape[1], 0, v.shape[3]), numpy.float32) for v in run.get_inputs() if v.name.startswith('past')}
    ids = numpy.array([ids], numpy.int64)
    return run.run(['logits'], {'input_ids': ids, 'attention_mask': numpy.ones_like(ids), **past})[0][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', type=pathlib.Path)
    parser.add_argument('--mxq')
    shared = pathlib.Path(os.environ.get('MXQ_SHARED', ROOT.parent / 'shared'))
    parser.add_argument('--text', type=pathlib.Path, default=shared / 'data/wikitext-2/test-joined.txt')
    parser.add_argument('--tokens', type=int, default=512)
    options = parser.parse_args()
    if options.folder is None:
        print('| bits | zeros | level | 1 row, ms | error | 64 rows, ms | error |\n|---|---|---|---|---|---|---|')
        for bits in (2, 3, 4, 8):
            for zeros in ('none', 'codes', 'numbers'):
                for level in (1, 4): print(f'| {bits} | {zeros} | {level} | {operator(bits, zeros, level)} |', flush=True)
        return
    with tempfile.TemporaryDirectory() as temporary:
        texts.split(options.text, pathlib.Path(temporary))
        scored = pathlib.Path(temporary) / 'scored.txt'
        scored.write_bytes(scored.read_bytes()[:8 * options.tokens])
        done = subprocess.run([options.mxq, 'tokenize', options.folder, '--text', scored], capture_output=True, text=True, check=True)
    ids = [int(i) for i in done.stdout.split()][:options.tokens]
    base = log_softmax(model_logits(options.folder, lambda name, bits: False, ids))
    for label, rounds in {'all': lambda name, bits: True, '2 and 8 bits': lambda name, bits: bits != 4,
                          'all but the output matrix': lambda name, bits: name != 'logits.raw'}.items():
        found = log_softmax(model_logits(options.folder, rounds, ids))
        print(f'{label}: mean KL {(numpy.exp(base) * (base - found)).sum(-1).mean():.4f}', flush=True)


if __name__ == '__main__':
    main()
