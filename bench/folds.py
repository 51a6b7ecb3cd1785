#!/usr/bin/env python3
"""What folds would gain: changes of weights that leave what a model computes as it is, made before it is quantized.

  folds.py MXQ MODEL [--format gguf] [--size 78MiB] [--folds none,scales,values,residual] [--bits B] [--seeds 0] [--text FILE] [--tokens 8192]

MODEL is a Llama or Qwen2 in a folder of safetensors. Each fold makes a folder of FP32 weights of it, which `mxq quantize` fits into the
same --size (or into --bits a parameter of the matrices, the embedding left alone), and which is scored by the divergence from MODEL.
  scales    column scales (as --normalize columns finds them for q, k, v and for gate, up together) into the norm before, of down into up's rows
  heads     those of o into v's rows, the same for all query heads of a value head
  values    each head of v and o turned by a random rotation
  residual  the residual stream turned by a random rotation: norms into what follows, and a tied output matrix becomes one of its own
Several, as scales+values. Needs torch and safetensors (scripts/setup.sh --peers).
"""
import argparse, json, os, pathlib, shutil, statistics, sys, tempfile

import torch
from safetensors.torch import load_file, save_file

import quality, texts

FOLDS = ['scales', 'heads', 'values', 'residual']  # methods of Folded


def column_scales(matrices):
    """Of matrices of the same input, as src/schemes/normalize/column_scales.h says: rows and columns of equal mean squares."""
    stacked = torch.cat(matrices).double()
    scales = torch.ones(stacked.shape[1], dtype=torch.double)
    for begin in range(0, stacked.shape[1], 64):
        squares = stacked[:, begin:begin + 64] ** 2
        rows = torch.ones(len(squares), dtype=torch.double)
        for _ in range(20):
            columns = (squares / rows[:, None]).mean(0).clamp_min(1e-30)
            rows = (squares / columns).mean(1).clamp_min(1e-30)
        scales[begin:begin + 64] = (squares / rows[:, None]).mean(0).clamp_min(1e-30).sqrt()
    return (scales / scales.log().mean().exp()).float()


def rotation(size, generator):
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.double))
    return (q * r.diagonal().sign()).float()


class Folded:
    def __init__(self, model):
        self.config = json.loads((model / 'config.json').read_text())
        if self.config['model_type'] not in ('llama', 'qwen2'): sys.exit(f'{model}: a {self.config["model_type"]}, not a llama or qwen2')
        self.t = {}
        for file in model.glob('*.safetensors'): self.t |= {name: tensor.float() for name, tensor in load_file(file).items()}
        self.layers = [f'model.layers.{i}.' for i in range(self.config['num_hidden_layers'])]
        self.q_heads, self.kv_heads = self.config['num_attention_heads'], self.config['num_key_value_heads']
        self.size = self.config.get('head_dim') or self.config['hidden_size'] // self.q_heads
        self.generator = torch.Generator().manual_seed(20261130)

    def inputs(self, layer):
        """The norm before each input of a layer, and the matrices that multiply it."""
        return [(layer + 'input_layernorm.weight', [f'{layer}self_attn.{m}_proj.weight' for m in 'qkv']),
                (layer + 'post_attention_layernorm.weight', [f'{layer}mlp.{m}_proj.weight' for m in ('gate', 'up')])]

    def scale_rows(self, module, by):
        for part in ('weight', 'bias'):
            if f'{module}.{part}' in self.t: self.t[f'{module}.{part}'] = (self.t[f'{module}.{part}'].T * by).T

    def scales(self):
        for layer in self.layers:
            for norm, names in self.inputs(layer):
                scales = column_scales([self.t[name] for name in names])
                for name in names: self.t[name] = self.t[name] / scales
                self.t[norm] = self.t[norm] * scales
            down = layer + 'mlp.down_proj.weight'
            scales = column_scales([self.t[down]])
            self.t[down] = self.t[down] / scales
            self.scale_rows(layer + 'mlp.up_proj', scales)

    def of_value_heads(self, o):
        """o's columns as [rows, value heads, query heads of each, size]."""
        return o.view(len(o), self.kv_heads, self.q_heads // self.kv_heads, self.size)

    def heads(self):
        for layer in self.layers:
            o = self.t[layer + 'self_attn.o_proj.weight']
            scales = column_scales([o]).view(self.kv_heads, -1, self.size).log().mean(1).exp()
            self.t[layer + 'self_attn.o_proj.weight'] = (self.of_value_heads(o) / scales[:, None]).reshape(o.shape)
            self.scale_rows(layer + 'self_attn.v_proj', scales.flatten())

    def values(self):
        for layer in self.layers:
            turns = torch.stack([rotation(self.size, self.generator) for _ in range(self.kv_heads)])
            for part in ('weight', 'bias'):
                name = f'{layer}self_attn.v_proj.{part}'
                if name in self.t:
                    v = self.t[name]
                    self.t[name] = torch.einsum('hij,hjk->hik', turns, v.view(self.kv_heads, self.size, -1)).reshape(v.shape)
            o = self.t[layer + 'self_attn.o_proj.weight']
            self.t[layer + 'self_attn.o_proj.weight'] = torch.einsum('rhqj,hij->rhqi', self.of_value_heads(o), turns).reshape(o.shape)

    def residual(self):
        turn = rotation(self.config['hidden_size'], self.generator)
        head = self.t.pop('lm_head.weight', self.t['model.embed_tokens.weight'])
        reading = [(norm, names) for layer in self.layers for norm, names in self.inputs(layer)]
        for norm, names in reading:
            for name in names: self.t[name] = self.t[name] * self.t[norm] @ turn
            self.t[norm] = torch.ones_like(self.t[norm])
        self.t['lm_head.weight'] = head * self.t['model.norm.weight'] @ turn
        self.t['model.norm.weight'] = torch.ones_like(self.t['model.norm.weight'])
        self.t['model.embed_tokens.weight'] = self.t['model.embed_tokens.weight'] @ turn
        for layer in self.layers:
            for module in (layer + 'self_attn.o_proj', layer + 'mlp.down_proj'):
                self.t[module + '.weight'] = turn.T @ self.t[module + '.weight']
                if module + '.bias' in self.t: self.t[module + '.bias'] = turn.T @ self.t[module + '.bias']
        self.config['tie_word_embeddings'] = False

    def write(self, model, folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file in model.iterdir():
            if file.is_file() and file.suffix not in ('.safetensors', '.bin') and file.name != 'model.safetensors.index.json': shutil.copy(file, folder)
        (folder / 'config.json').write_text(json.dumps(self.config | {'torch_dtype': 'float32', 'dtype': 'float32'}))
        save_file({name: tensor.contiguous() for name, tensor in self.t.items()}, folder / 'model.safetensors', metadata={'format': 'pt'})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('mxq')
    parser.add_argument('model', type=pathlib.Path)
    parser.add_argument('--format', default='gguf')
    parser.add_argument('--size', default='78MiB')
    parser.add_argument('--bits', type=float)
    parser.add_argument('--folds', default='none,scales,scales+heads,values,residual')
    parser.add_argument('--seeds', default='0')
    shared = pathlib.Path(os.environ.get('MXQ_SHARED', pathlib.Path(__file__).resolve().parents[2] / 'shared'))
    parser.add_argument('--text', type=pathlib.Path, default=shared / 'data/wikitext-2/test-joined.txt')
    parser.add_argument('--tokens', type=int, default=8192)
    options = parser.parse_args()
    budget = ['--bits', options.bits, '--no-embeddings'] if options.bits else ['--size', options.size]
    print('| fold | unfolded loss | mean KLD | of no fold |\n|---|---|---|---|')
    with tempfile.TemporaryDirectory(prefix='mxq-folds-') as temporary:
        folder = pathlib.Path(temporary)
        texts.split(options.text, folder)
        def loss(checkpoint):
            said = quality.run(options.mxq, 'eval', checkpoint, '--against', options.model, '--text', folder / 'scored.txt', '--window', 512,
                               '--stride', 512, '--tokens', options.tokens, '--json', '--quiet')
            return said['kl']['mean']
        plain = None
        for fold in options.folds.split(','):
            model, exact = options.model, 0.0
            if fold != 'none':
                folded = Folded(options.model)
                for kind in fold.split('+'):
                    if kind not in FOLDS: sys.exit(f'--folds: {kind!r}; expected none or {", ".join(FOLDS)}')
                    getattr(folded, kind)()
                model = folder / 'folded'
                folded.write(options.model, model)
                exact = loss(model)
            losses = []
            for seed in options.seeds.split(','):
                out = folder / ('out.gguf' if options.format == 'gguf' else 'out')
                quality.run(options.mxq, 'quantize', model, '--format', options.format, *budget, '--sample-seed', seed, '-o', out,
                            '--overwrite', '--json', '--quiet')
                losses.append(loss(out))
            mean = statistics.mean(losses)
            plain = plain or mean
            print(f'| {fold} | {exact:.5f} | {mean:.4f} | {mean / plain:.2f} |', flush=True)


if __name__ == '__main__':
    main()
