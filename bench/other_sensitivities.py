#!/usr/bin/env python3
"""Other ways to the sensitivities alpha of the objective kl = sum of alpha F^2 than one probe a matrix, as plans and their divergence.

  other_sensitivities.py MXQ MODEL [--text FILE] [--windows 32] [--out results.json]

MODEL: a Hugging Face folder that ties its output matrix to the embedding. Each way replaces the column `sensitivity` of
`mxq measure --sensitivity`; then `mxq plan --errors`, `mxq quantize --plan`, `mxq eval` on the text and windows of quality.py.
Texts are sampled from MODEL, 2 x 384 tokens: from BOS and EOS at temperature 1 ("ends"), or like those of mxq's own probes, from
random tokens at 0.7 and 1.3 ("any").
  probes         mxq's own: KL of the model with one matrix at b3g64, over F^2
  fisher D       diagonal of the Gauss-Newton matrix, meaned over a matrix: D draws of a label y_t ~ p and a sign e_t a token, gradient
                 G of sum e_t log p(y_t), alpha = ||G||^2 / (2 T weights). By linear algebra: the gradient at the last hidden
                 state is e_t (E[y_t] - p_t E), so logits are made once for all draws
  inputs D       as K-FAC, the error D = RTN at b3g64: alpha = sum_jk mean(delta_j^2) mean(x_k^2) D_jk^2 / (2 ||D||^2), delta the
                 gradient at the matrix's outputs, x its inputs
  gptq error D   alpha = mean_t (delta_t^T D x_t)^2 / (2 F^2), D what `mxq quantize --uniform b3g64` really does to the matrix
  second round   what the KL of the plan of `probes` falls by when a matrix is restored, over its F^2 in that plan; one for each
                 budget, on "any" with another seed (where it does not fall: 5 % of the probes' alpha)
  both rounds    geometric mean of probes and second round
Seconds are of processor time, of all cores together; of `probes` with an empty cache. Rows in --out are not made again.
"""
import csv, json, math, os, resource, shutil, statistics, subprocess, time

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from quality import Bench, arguments

BUDGETS = [3.2765, 3.5304]
PROBE, METHOD = 'b3g64', ['--fit', 'gptq', '--normalize', 'rotation']
FISHER = [('ends', 1, 'fisher'), ('ends', 4, 'fisher'), ('ends', 16, 'fisher'), ('any', 4, 'fisher'), ('any', 4, 'inputs'),
          ('any', 4, 'gptq error')]
CHUNK = 64  # of tokens, whose logits are in memory


def seconds():
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def round_to_nearest(weight, bits=3, group=64):
    w = weight.reshape(-1, group)
    low, high = w.amin(1, keepdim=True), w.amax(1, keepdim=True)
    scale = ((high - low) / (2**bits - 1)).clamp_min(1e-12)
    return (((w - low) / scale).round() * scale + low).reshape(weight.shape)


class OtherSensitivities(Bench):
    def __init__(self, options):
        super().__init__(options)
        self.texts = {}
        self.model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval().requires_grad_(False)
        self.head, self.original = self.model.lm_head.weight, {n: w.clone() for n, w in self.model.state_dict().items()}
        self.run(options.mxq, 'measure', options.model, '--sensitivity', '-o', self.folder / 'errors.csv', '--json', '--quiet', *METHOD)
        with open(self.folder / 'errors.csv') as file: self.table = list(csv.DictReader(file))
        self.probes = {row['matrix']: float(row['sensitivity']) for row in self.table}
        self.f2 = {(row['matrix'], row['scheme']): float(row['fnorm']) ** 2 for row in self.table}

    def remember(self, key, make):
        if key not in self.rows:
            self.rows[key] = make()
            if self.o.out: self.o.out.write_text(json.dumps(self.rows, indent=1))
        return self.rows[key]

    def plan(self, alpha, bits):
        with open(self.folder / 'other.csv', 'w') as file:
            writer = csv.DictWriter(file, self.table[0])
            writer.writeheader()
            writer.writerows(row | {'sensitivity': alpha[row['matrix']]} for row in self.table)
        plan = self.folder / 'plan.json'
        self.run(self.o.mxq, 'plan', '--errors', self.folder / 'other.csv', '--bits', bits, '-o', plan, '--json', '--quiet', *METHOD)
        return plan

    def quantized(self, *how):
        out = self.folder / 'out'
        self.run(self.o.mxq, 'quantize', self.o.model, *how, '-o', out, '--overwrite', '--json', '--quiet')
        return out

    def dequantized(self, *how):
        plain = self.folder / 'plain'
        subprocess.run([self.o.mxq, 'dequantize', self.quantized(*how), '-o', plain, '--dtype', 'f32', '--overwrite', '--quiet'],
                       check=True, capture_output=True)
        return load_file(plain / 'model.safetensors')

    def kl(self, way, alpha, bits):
        def make():
            found = self.evaluate(self.quantized('--plan', self.plan(alpha, bits)))['kl']
            return {'kl': found['mean'], 'kl_error': found['mean_error']}
        return self.remember(f'{way}, {bits} bits @{self.o.windows}', make)['kl']

    @torch.no_grad()
    def sample(self, kind, seed=0, length=384):
        if (kind, seed) not in self.texts:
            rng, config = torch.Generator().manual_seed(seed), self.model.config
            begin = torch.tensor([[config.bos_token_id], [config.eos_token_id]])
            if kind == 'any': begin = torch.randint(config.vocab_size, (2, 1), generator=rng)
            temperature = torch.tensor([[0.7], [1.3]] if kind == 'any' else [[1.0], [1.0]])
            ids, cache = begin, None
            while ids.shape[1] < length:
                step = self.model(ids[:, -1:], past_key_values=cache, use_cache=True)
                cache = step.past_key_values
                drawn = torch.multinomial((step.logits[:, -1] / temperature).softmax(-1), 1, generator=rng)
                ids = torch.cat([ids, drawn], 1)
            self.texts[kind, seed] = ids
        return self.texts[kind, seed]

    def chunks(self, hidden):
        """Logits of the last hidden states, so many tokens at a time."""
        return (h @ self.head.T for h in hidden.split(CHUNK))

    def fisher(self, kind, draws):
        """way -> its alpha of every draw, and the seconds that came before the draws and in them."""
        start = seconds()
        error = self.dequantized('--uniform', PROBE, *METHOD)
        fit, start = seconds() - start, seconds()
        text, found = self.sample(kind), {'fisher': {}, 'inputs': {}, 'gptq error': {}}

        def hook(name, module):
            rtn = (round_to_nearest(module.weight) - module.weight).square()
            gptq, f2 = error[name + '.weight'] - module.weight, self.f2[name, PROBE]

            def forward(_, inputs, output):
                x = inputs[0].detach().flatten(0, 1)
                scaled, moved = rtn @ x.square().mean(0) / rtn.sum(), x @ gptq.T

                def backward(delta):
                    d = delta.flatten(0, 1)
                    for way, value in (('fisher', (d.T @ x).square().sum() / (len(d) * module.weight.numel())),
                                       ('inputs', d.square().mean(0) @ scaled),
                                       ('gptq error', (d * moved).sum(1).square().mean() / f2)):
                        found[way].setdefault(name, []).append(0.5 * float(value))
                output.register_hook(backward)
            return module.register_forward_hook(forward)

        hooks = [hook(name, self.model.get_submodule(name)) for name in self.probes]
        hidden = self.model.model(inputs_embeds=self.model.get_input_embeddings()(text).requires_grad_(), use_cache=False)[0]
        rng, flat = torch.Generator().manual_seed(1), hidden.detach().flatten(0, 1)
        p = [logits.softmax(-1) for logits in self.chunks(flat)]
        mean = torch.cat([part @ self.head for part in p])
        before = seconds() - start
        for _ in range(draws):
            label = torch.cat([torch.multinomial(part, 1, generator=rng)[:, 0] for part in p])
            sign = torch.randint(2, (len(label), 1), generator=rng) * 2.0 - 1
            hidden.backward((sign * (self.head[label] - mean)).reshape(hidden.shape), retain_graph=True)
        for h in hooks: h.remove()
        return found | {'fit': fit, 'before': before, 'draw': (seconds() - start - before) / draws}

    @torch.no_grad()
    def second(self, bits):
        """alpha around the plan of the probes, and its seconds: layers before the restored matrix are not run again."""
        start, text = seconds(), self.sample('any', 2)
        p = [logits.softmax(-1) for logits in self.chunks(self.model.model(text, use_cache=False)[0].flatten(0, 1))]
        mean = torch.cat([part @ self.head for part in p]).double()
        plan = self.plan(self.probes, bits)
        scheme = {name: m['scheme'] for name, m in json.loads(plan.read_text())['matrices'].items()}
        self.model.load_state_dict(self.dequantized('--plan', plan), strict=False)
        decoder, inputs = self.model.model, []
        hooks = [layer.register_forward_pre_hook(lambda _, args, kwargs: inputs.append((args, kwargs)), with_kwargs=True)
                 for layer in decoder.layers]

        def gain(hidden):
            """Mean of E_p log q: minus the KL, but for a constant."""
            h = decoder.norm(hidden).flatten(0, 1)
            return float(((mean * h).sum(1) - torch.cat([x.logsumexp(-1) for x in self.chunks(h)])).mean())

        decoder(text, use_cache=False)
        for h in hooks: h.remove()

        def run_from(number):
            hidden = inputs[number][0]
            for layer, (_, kwargs) in zip(decoder.layers[number:], inputs[number:]):
                hidden = layer(*hidden, **kwargs)
                if not isinstance(hidden, tuple): hidden = hidden,
            return gain(hidden[0])

        base, falls = run_from(0), {}
        for name in self.probes:
            weight, number = self.model.get_submodule(name).weight, int(name.split('.layers.')[1].split('.')[0])
            quantized = weight.clone()
            weight.copy_(self.original[name + '.weight'])
            falls[name] = run_from(number) - base
            weight.copy_(quantized)
        self.model.load_state_dict(self.original)
        alpha = {n: fall / self.f2[n, scheme[n]] if fall > 0 else 0.05 * self.probes[n] for n, fall in falls.items()}
        return {'alpha': alpha, 'falls': falls, 'seconds': seconds() - start}

    def probe_seconds(self):
        """What `mxq measure --sensitivity` takes, the calibration's text and Hessians included."""
        start = seconds()
        os.environ['MXQ_CACHE'], usual = str(self.folder / 'cache'), os.environ.get('MXQ_CACHE')
        self.run(self.o.mxq, 'measure', self.o.model, '--sensitivity', '-o', self.folder / 'again.csv', '--json', '--quiet', *METHOD)
        os.environ.pop('MXQ_CACHE') if usual is None else os.environ.update(MXQ_CACHE=usual)
        return {'seconds': seconds() - start}

    def print_row(self, way, cost, *alphas):
        """alphas: one for all budgets, or one for each."""
        logs = lambda alpha: [math.log(max(alpha[n], 1e-30)) for n in self.probes]
        alike = [f'{statistics.correlation(logs(self.probes), logs(alpha)):.3f}' for alpha in alphas]
        kls = [f'{self.kl(way, alphas[i % len(alphas)], bits):.4f}' for i, bits in enumerate(BUDGETS)]
        print(f'| {way} | {cost:.0f} | {", ".join(alike)} | {" | ".join(kls)} |', flush=True)


def main():
    parser = arguments(__doc__, 32)
    b = OtherSensitivities(parser.parse_args())
    print('| way | cost, s | correlation of ln alpha with probes | ' + ' | '.join(f'KL at {bits}' for bits in BUDGETS) + ' |')
    print('|---|---|---|' + '---|' * len(BUDGETS))
    b.print_row('probes', b.remember('cost of probes', b.probe_seconds)['seconds'], b.probes)
    for kind, draws, way in FISHER:
        most = max(d for k, d, _ in FISHER if k == kind)
        found = b.remember(f'{kind}, {most} draws', lambda: b.fisher(kind, most))
        alpha = {n: statistics.mean(values[:draws]) for n, values in found[way].items()}
        b.print_row(f'{way} {draws}, {kind}', found['before'] + draws * found['draw'] + (found['fit'] if way == 'gptq error' else 0), alpha)
    second = [b.remember(f'second round, {bits} bits', lambda: b.second(bits)) for bits in BUDGETS]
    cost = statistics.mean(s['seconds'] for s in second)
    b.print_row('second round', cost, *(s['alpha'] for s in second))
    b.print_row('both rounds', cost, *({n: math.sqrt(a * b.probes[n]) for n, a in s['alpha'].items()} for s in second))
    shutil.rmtree(b.folder)


if __name__ == '__main__':
    main()
