#!/usr/bin/env python3
"""gptq_by_definition.py MXQ MODEL CALIBRATION [--scheme b3g128] [--layers 1] [--sequences 48] [--package FOLDER]

`--fit autogptq` against the paper's algorithm as a plain loop in PyTorch (fp64), on what transformers feeds the first layers: matrix after
matrix, each on inputs that those before it give.

Perplexities of two implementations differ by chance (gptq_peer.py); this does not. Exits 1 where a matrix's output error is more than
0.5 % off the loop's, or more than a tenth of its weights. With AVX-512, where attention and second moments are made by bfloat16 products, that is
1 % and 30 %: they move a quarter of down_proj's weights, and o_proj's error by 0.5 %. MODEL: a Hugging Face folder. --package judges gptqmodel's weights instead, which
gptq_peer.py --keep FOLDER has left, beside a loop that leaves a short last group in its own order, as the package does, and allows it 2 % and
a fifth, for it computes in fp32.
"""
import argparse
import pathlib
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from gptq_calibration import SEQUENCES, bits_and_group, quantize, run, sequences

DAMPING = 0.01
# What shares an input is coded together.
INPUTS = (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("self_attn.o_proj",), ("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",))


class Stop(Exception):
    pass


def column_order(diagonal, group, sort_short):
    """Whole groups by their largest second moment, within each by falling second moment; a short last group stays the last."""
    groups = [g[torch.argsort(diagonal[g], descending=True, stable=True)] if len(g) == group or sort_short else g
              for g in torch.arange(len(diagonal)).split(group)]
    short = [groups.pop()] if len(groups[-1]) < group else []
    largest = torch.stack([diagonal[g[0]] for g in groups])
    return torch.cat([groups[i] for i in torch.argsort(largest, descending=True, stable=True)] + short)


def gptq(weights, moments, bits, group, sort_short):
    """Frantar et al., algorithm 1, a column at a time; symmetric grids of fp16 scales from the weights as updated (AutoGPTQ)."""
    order = column_order(moments.diagonal(), group, sort_short)
    w, h = weights.double()[:, order], moments[order][:, order].clone()
    h.diagonal().add_(DAMPING * h.diagonal().mean())
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    top, q = 2**bits - 1, torch.zeros_like(w)
    for i in range(w.shape[1]):
        if i % group == 0: scale = (2 * w[:, i:i + group].abs().amax(1) / top).half().double()
        q[:, i] = ((w[:, i] / scale).round() + (top + 1) / 2).clamp(0, top).sub((top + 1) / 2) * scale
        w[:, i:] -= ((w[:, i] - q[:, i]) / u[i, i])[:, None] * u[i, i:]
    return q[:, torch.argsort(order)]


def second_moments(model, layer, module, inputs):
    """Of the inputs of `module`, fp64."""
    sums = []

    def gather(_, given, __):
        x = given[0].reshape(-1, given[0].shape[-1]).double()
        sums.append(x.T @ x)

    def stop(*_):
        raise Stop

    hooks = [module.register_forward_hook(gather), layer.register_forward_hook(stop)]
    for some in inputs.split(8):
        try: model.model(some)
        except Stop: pass
    for hook in hooks: hook.remove()
    return sum(sums)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mxq", "model", "calibration"): parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--scheme", default="b3g128"); parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--sequences", type=int, default=SEQUENCES); parser.add_argument("--package", type=pathlib.Path)
    a = parser.parse_args()
    bits, group = bits_and_group(a.scheme)
    in_bf16 = "avx512" in pathlib.Path("/proc/cpuinfo").read_text()
    judged, most_off, least_alike = ("gptqmodel", 0.02, 0.8) if a.package else ("mxq", 0.01, 0.7) if in_bf16 else ("mxq", 0.005, 0.9)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        if not a.package:
            quantize(a.mxq, a.model, a.scheme, a.calibration, folder / "quantized", a.sequences)
            run(a.mxq, "dequantize", folder / "quantized", "--quiet", "-o", folder / "plain")
        weights = load_file((a.package or folder / "plain") / "model.safetensors")
    inputs = torch.tensor(sequences(a.mxq, a.model, a.calibration, a.sequences))
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
    failed = False
    print(f"| matrix | output error of the loop | {judged} / the loop | weights alike, % |\n|---|---|---|---|")
    for number in range(a.layers):
        layer = model.model.layers[number]
        for names in INPUTS:
            moments = second_moments(model, layer, layer.get_submodule(names[0]), inputs)
            for name in names:
                linear = layer.get_submodule(name)
                w = linear.weight.double()
                by_definition, q = gptq(w, moments, bits, group, not a.package), weights[f"model.layers.{number}.{name}.weight"].double()
                error = lambda x: (((w - x) @ moments) * (w - x)).sum() / ((w @ moments) * w).sum()
                ratio = (error(q) / error(by_definition)).item()
                alike = ((q - by_definition).abs() < 2e-3 * w.abs().max()).double().mean().item()
                print(f"| {number}.{name} | {error(by_definition).item():.6f} | {ratio:.4f} | {100 * alike:.1f} |", flush=True)
                failed |= abs(ratio - 1) > most_off or alike < least_alike
                linear.weight.data = q.float()  # what comes after sees the judged ones
    sys.exit(failed)


if __name__ == "__main__":
    with torch.inference_mode(): main()
