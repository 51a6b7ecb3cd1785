#!/usr/bin/env python3
"""Quantizes a Hugging Face folder with the sinq package and writes what that makes of its weights, as a folder again.

  sinq_peer.py MODEL OUT --bits 4 --group 64

Run it in a virtual environment of its own (scripts/setup.sh --sinq): the package patches Python when it starts. Every
projection goes through SINQLinear (method "sinq", 1D tiles) on the CPU and is dequantized; `mxq eval OUT --against MODEL`
then measures it like everything else. Scales and zeros stay unquantized, with which the package does better than with the
8 bits that it recommends, and neither they nor its second scale a column are counted against it.
"""
import argparse, pathlib, shutil

import torch
from safetensors.torch import load_file, save_file
from sinq.sinqlinear import SINQLinear, sinq_base_quant_config


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=pathlib.Path); parser.add_argument('out', type=pathlib.Path)
    parser.add_argument('--bits', type=int, default=4); parser.add_argument('--group', type=int, default=64)
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    for file in o.model.iterdir():
        if file.suffix == '.json' and 'index' not in file.name: shutil.copy(file, o.out)
    tensors = {}
    for file in sorted(o.model.glob('*.safetensors')): tensors |= load_file(file)
    done = 0
    for name, weight in tensors.items():
        if not name.endswith('_proj.weight'): continue
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight.data = weight.float()
        config = sinq_base_quant_config(nbits=o.bits, group_size=o.group, method='sinq')
        config['weight_quant_params']['method'] = 'sinq'  # which the line above turns into 'sinq_quantAux'
        quantized = SINQLinear(linear, config, del_orig=False, compute_dtype=torch.float32, device='cpu',
                               use_unpack_kernel=False)
        tensors[name] = quantized.dequantize().reshape(weight.shape).float().contiguous()
        done += 1
    save_file(tensors, o.out / 'model.safetensors', metadata={'format': 'pt'})
    print(f'{done} matrices at b{o.bits}g{o.group}')


if __name__ == '__main__':
    main()
