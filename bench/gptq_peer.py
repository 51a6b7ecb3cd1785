#!/usr/bin/env python3
"""What GPTQModel itself makes of a model by rounding to nearest, in its own environment (scripts/setup.sh --gptqmodel).

  gptq_peer.py MODEL OUT --format gptq|awq --bits B --group G

Every projection of MODEL, a folder of safetensors in one file, is rounded by the package's Quantizer: symmetric for GPTQ, with zeros of
their own for AWQ, from the minimum and maximum of groups of G columns, scales in F16. The package's modules pack the codes. OUT gets a
folder that its loaders load. All else is copied.
"""
import argparse, json, pathlib, shutil

import safetensors
import torch
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from gptqmodel.quantization import FORMAT
from gptqmodel.quantization.awq.utils.packing_utils import pack_awq
from gptqmodel.quantization.config import QuantizeConfig
from gptqmodel.quantization.quantizer import Quantizer
from safetensors.torch import save_file


def grids(weight, bits, group, symmetric):
    """Scale and zero of each group of each row, as the package finds them; scales as they will be stored."""
    quantizer = Quantizer(QuantizeConfig(bits=bits, group_size=group, sym=symmetric, mse=0.0))
    quantizer.configure(perchannel=True)
    quantizer.find_params(weight.reshape(-1, group), weight=True)
    shape = (weight.shape[0], -1)
    return quantizer.scale.reshape(shape).half().float(), quantizer.zero.reshape(shape)


def gptq(weight, bits, group):
    scales, zeros = grids(weight, bits, group, True)
    rows, cols = weight.shape
    linear = torch.nn.Linear(cols, rows, bias=False)
    linear.weight.data = weight
    module = TorchLinear(bits=bits, group_size=group, sym=True, desc_act=False, in_features=cols, out_features=rows, format=FORMAT.GPTQ_V2)
    module.pack(linear, scales, zeros, torch.arange(cols, dtype=torch.int32) // group)
    return {'qweight': module.qweight, 'qzeros': module.qzeros, 'scales': module.scales.half(), 'g_idx': module.g_idx}


def awq(weight, bits, group):
    scales, zeros = grids(weight, bits, group, False)
    codes = torch.clamp(torch.round(weight / scales.repeat_interleave(group, 1)) + zeros.repeat_interleave(group, 1), 0, 2**bits - 1)
    qweight, qzeros = pack_awq(codes.T.to(torch.int32).contiguous(), zeros.T.to(torch.int32).contiguous(), bits)
    return {'qweight': qweight, 'qzeros': qzeros, 'scales': scales.T.half()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=pathlib.Path)
    parser.add_argument('out', type=pathlib.Path)
    parser.add_argument('--format', choices=('gptq', 'awq'), default='gptq')
    parser.add_argument('--bits', type=int, default=4)
    parser.add_argument('--group', type=int, default=64)
    options = parser.parse_args()
    pack = {'gptq': gptq, 'awq': awq}[options.format]
    tensors = {}
    with safetensors.safe_open(options.model / 'model.safetensors', 'pt') as file:
        for name in file.keys():
            tensor = file.get_tensor(name)
            if not name.endswith('_proj.weight'):
                tensors[name] = tensor
                continue
            module = name.removesuffix('weight')
            tensors |= {module + part: value.contiguous() for part, value in pack(tensor.float(), options.bits, options.group).items()}
    options.out.mkdir()
    save_file(tensors, options.out / 'model.safetensors', {'format': 'pt'})
    for path in options.model.iterdir():
        if path.suffix != '.safetensors' and not path.name.startswith('.'): shutil.copy(path, options.out)
    config = json.loads((options.model / 'config.json').read_text())
    config['quantization_config'] = {'quant_method': options.format, 'bits': options.bits, 'group_size': options.group} | (
        {'sym': True, 'desc_act': False, 'checkpoint_format': 'gptq_v2'} if options.format == 'gptq' else {'zero_point': True, 'version': 'gemm'})
    (options.out / 'config.json').write_text(json.dumps(config, indent=2))


if __name__ == '__main__':
    main()
