#!/usr/bin/env python3
"""What the package compressed-tensors itself makes of a model, in its own environment (scripts/setup.sh --compressed-tensors).

  compressed_tensors_peer.py MODEL OUT --bits B --group G [--asymmetric]

Every projection of MODEL, a folder of safetensors in one file, is rounded to nearest: scales and zeros of each group (G columns; 0: a row)
are those that the package's calculate_qparams finds from minimum and maximum, in the dtype of the weights. Its compressor for
pack-quantized packs the codes. OUT gets a folder that transformers loads. All else is copied.
"""
import argparse, json, pathlib, shutil

import safetensors
import torch
from compressed_tensors.compressors import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file


def compress(weight, args):
    """The tensors that a module has in place of `weight`."""
    groups = weight.unflatten(1, (-1, args.group_size if args.strategy == 'group' else weight.shape[1]))
    scale, zero = calculate_qparams(groups.amin(2), groups.amax(2), args)
    parts = {'weight': weight, 'weight_scale': scale, 'weight_zero_point': torch.round(zero).to(torch.int8)}
    return PackedQuantizationCompressor.compress(parts, QuantizationScheme(targets=['Linear'], weights=args))


def arguments(bits, group, symmetric=True):
    return QuantizationArgs(num_bits=bits, type='int', symmetric=symmetric, strategy='group' if group else 'channel', group_size=group or None)


def write(model, out, args):
    tensors = {}
    with safetensors.safe_open(model / 'model.safetensors', 'pt') as file:
        for name in file.keys():
            tensor = file.get_tensor(name)
            if name.endswith('_proj.weight'):
                module = name.removesuffix('weight')
                tensors |= {module + part: value.contiguous() for part, value in compress(tensor, args).items()}
            else:
                tensors[name] = tensor
    out.mkdir()
    save_file(tensors, out / 'model.safetensors', {'format': 'pt'})
    for path in model.iterdir():
        if path.suffix != '.safetensors' and not path.name.startswith('.'): shutil.copy(path, out)
    config = json.loads((model / 'config.json').read_text())
    config['quantization_config'] = {'quant_method': 'compressed-tensors', 'format': 'pack-quantized', 'quantization_status': 'compressed',
                                     'ignore': ['lm_head'], 'config_groups': {'group_0': {
                                         'targets': ['Linear'], 'weights': json.loads(args.model_dump_json())}}}
    (out / 'config.json').write_text(json.dumps(config, indent=2))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=pathlib.Path)
    parser.add_argument('out', type=pathlib.Path)
    parser.add_argument('--bits', type=int, default=4)
    parser.add_argument('--group', type=int, default=64)
    parser.add_argument('--asymmetric', action='store_true')
    options = parser.parse_args()
    write(options.model, options.out, arguments(options.bits, options.group, not options.asymmetric))


if __name__ == '__main__':
    main()
