#!/usr/bin/env python3
"""What onnxruntime's own quantizer makes of a model's weights, in its own environment (scripts/setup.sh --onnx).

  onnx_peer.py MODEL OUT --bits B --group G [--symmetric]

Every projection of MODEL, a folder of safetensors in one file, and its embedding go through onnxruntime.quantization's MatMulNBitsQuantizer
with its defaults (rounding to nearest, zeros that are codes), each as the weight of a MatMul. OUT gets MODEL with what MatMulNBits makes of
codes, scales and zeros again, in F32. Prints the bytes that an ONNX model of them takes: codes, zeros, scales as if they were in F16 (the
quantizer writes them in F32 beside activations of F32), and 2 for every other weight.
"""
import argparse, json, pathlib, shutil, struct

import numpy, onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

DTYPES = {'F32': numpy.float32, 'F16': numpy.float16}


def read(path):
    raw = path.read_bytes()
    (length,) = struct.unpack_from('<Q', raw)
    for name, entry in json.loads(raw[8:8 + length]).items():
        if name == '__metadata__': continue
        begin, end = entry['data_offsets']
        data = raw[8 + length + begin:8 + length + end]
        values = (numpy.frombuffer(data, '<u2').astype(numpy.uint32) << 16).view(numpy.float32) if entry['dtype'] == 'BF16' \
            else numpy.frombuffer(data, DTYPES[entry['dtype']])
        yield name, values.astype(numpy.float32).reshape(entry['shape'])


def unpack(packed, bits):
    """Numbers of `bits` from bytes, the lowest first, along the last axis."""
    parts = [(packed >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return numpy.stack(parts, -1).reshape(*packed.shape[:-1], -1)


def quantize(weight, options):
    """What is read again, and the bytes that it takes."""
    rows, cols = weight.shape
    graph = helper.make_graph([helper.make_node('MatMul', ['x', 'w'], ['y'], 'matmul')], 'g',
                              [helper.make_tensor_value_info('x', onnx.TensorProto.FLOAT, ['n', cols])],
                              [helper.make_tensor_value_info('y', onnx.TensorProto.FLOAT, ['n', rows])],
                              [numpy_helper.from_array(numpy.ascontiguousarray(weight.T), 'w')])
    quantizer = MatMulNBitsQuantizer(helper.make_model(graph), bits=options.bits, block_size=options.group, is_symmetric=options.symmetric)
    quantizer.process()
    made = quantizer.model.model.graph
    (node,) = (n for n in made.node if n.op_type == 'MatMulNBits')
    tensors = {t.name: numpy_helper.to_array(t) for t in made.initializer}
    codes, scales, *zeros = (tensors[name] for name in node.input[1:] if name)
    groups = codes.shape[1]
    scales = scales.reshape(rows, groups)
    size = codes.nbytes + 2 * scales.size + sum(z.nbytes for z in zeros)
    middle = unpack(zeros[0].reshape(rows, -1), options.bits)[:, :groups] if zeros else numpy.full((rows, groups), 1 << (options.bits - 1))
    values = (unpack(codes, options.bits).astype(numpy.float32) - middle[..., None].astype(numpy.float32)) * scales[..., None]
    return values.reshape(rows, -1)[:, :cols].astype(numpy.float32), size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=pathlib.Path)
    parser.add_argument('out', type=pathlib.Path)
    parser.add_argument('--bits', type=int, default=4)
    parser.add_argument('--group', type=int, default=32)
    parser.add_argument('--symmetric', action='store_true')
    options = parser.parse_args()
    total, header, data = 0, {}, b''
    for name, weight in read(options.model / 'model.safetensors'):
        size = 2 * weight.size
        if name.endswith(('_proj.weight', 'embed_tokens.weight', 'lm_head.weight')): weight, size = quantize(weight, options)
        total += size
        header[name] = {'dtype': 'F32', 'shape': list(weight.shape), 'data_offsets': [len(data), len(data) + weight.nbytes]}
        data += weight.astype('<f4').tobytes()
    text = json.dumps(header).encode()
    options.out.mkdir()
    (options.out / 'model.safetensors').write_bytes(struct.pack('<Q', len(text)) + text + data)
    for path in options.model.iterdir():
        if path.suffix != '.safetensors' and not path.name.startswith('.'): shutil.copy(path, options.out)
    print(total)


if __name__ == '__main__':
    main()
