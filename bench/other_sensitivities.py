#!/usr/bin/env python3
"""Other ways to the sensitivities alpha of the objective kl = sum of alpha F^2 than one probe a matrix, as plans and their divergence.

  other_sensitivities.py MXQ MODEL [--text FILE] [--windows 32] [--out results.json]

MODEL: a Hugging Face folder that ties its output matrix to the embedding. Each way replaces the column `sensitivity` of
`mxq measure --sensitivity`; then `mxq plan --errors`, `mxq quantize --plan`, `mxq eval` on the text and windows of quality.py.
Texts are sampled from MODEL, 2 x 384 tokens: from BOS and EOS ("ends"), or like those of mxq's own probes, from random tokens and
without the unlikeliest of each step, the last 5 % together ("any").
  mxq            `mxq measure --sensitivity`: gradients, windows of 16, 8 stratified draws on 4 x 384 tokens
  exact          probes: KL of the model with one matrix at b3g64, over F^2, by a forward pass from its layer on, for each matrix
  fisher D       diagonal of the Gauss-Newton matrix, meaned over a matrix: D draws of a label y_t ~ p and a sign e_t a token, gradient
                 G of sum e_t log p(y_t), alpha = ||G||^2 / (2 T weights). By linear algebra: the gradient at the last hidden
                 state is e_t (E[y_t] - p_t E), so logits are made once for all draws
  inputs D       as K-FAC, the error D = RTN at b3g64: alpha = sum_jk mean(delta_j^2) mean(x_k^2) D_jk^2 / (2 ||D||^2), delta the
                 gradient at the matrix's outputs, x its inputs
  window W D     s_t = delta_t^T D x_t, D what `mxq quantize --uniform b3g64` really does to the matrix; alpha = sum over t and u of
                 s_t s_u max(0, 1 - |t - u| / W) / (2 T F^2); "all": without that weight
  second round   what the KL of the plan of `mxq` falls by when a matrix is restored, over its F^2 in that plan; one for each
                 budget, on "any" with another seed (where it does not fall: 5 % of mxq's alpha)
  both rounds    geometric mean of mxq and second round
Seconds are of processor time, of all cores together; of `mxq` with an empty cache. Correlations and deviations are of ln alpha,
against `exact` on the same text ("any"). Rows in --out are not made again.
"""
import csv, json, math, os, resource, statistics, subprocess, time

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from quality import Bench, arguments, run

BUDGETS = [3.2765, 3.5304]
PROBE, METHOD = 'b3g64', ['--fit', 'gptq', '--normalize', 'rotation']
WINDOWS = {'window 1': 1, 'window 4': 4, 'window 16': 16, 'window 64': 64, 'window all': None}
FISHER = [('ends', 1, 'fisher'), ('ends', 4, 'fisher'), ('ends', 16, 'fisher'), ('any', 16, 'fisher'), ('any', 16, 'inputs'),
          *(('any', 16, way) for way in WINDOWS), ('any', 4, 'window 16')]
CHUNK = 64  # of tokens, whose logits are in memory
TOP_P = 0.95


def seconds():
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def round_to_nearest(weight, bits=3, group=64):
    w = weight.reshape(-1, group)
    low, high = w.amin(1, keepdim=True), w.amax(1, keepdim=True)
    scale = ((high - low) / (2**bits - 1)).clamp_min(1e-12)
    return (((w - low) / scale).round() * scale + low).reshape(weight.shape)


def windowed(s, width):
    """Half of sum over t and u of s_t s_u max(0, 1 - |t - u| / width), rows apart; of all products alike for None."""
    if width is None: return 0.5 * float(s.sum(1).square().sum())
    sums = torch.nn.functional.pad(s.double(), (width, width)).cumsum(1)
    return float((sums[:, width:] - sums[:, :-width]).square().sum()) / (2 * width)


class OtherSensitivities(Bench):
    def __init__(self, options):
        super().__init__(options)
        self.texts = {}
        self.model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval().requires_grad_(False)
        self.head, self.original = self.model.lm_head.weight, {n: w.clone() for n, w in self.model.state_dict().items()}
        run(options.mxq, 'measure', options.model, '--sensitivity', '-o', self.folder / 'errors.csv', '--json', '--quiet', *METHOD)
        with open(self.folder / 'errors.csv') as file: self.table = list(csv.DictReader(file))
        self.own = {row['matrix']: float(row['sensitivity']) for row in self.table}
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
        run(self.o.mxq, 'plan', '--errors', self.folder / 'other.csv', '--bits', bits, '-o', plan, '--json', '--quiet', *METHOD)
        return plan

    def quantized(self, *how):
        out = self.folder / 'out'
        run(self.o.mxq, 'quantize', self.o.model, *how, '-o', out, '--overwrite', '--json', '--quiet')
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
            ids, cache = begin, None
            while ids.shape[1] < length:
                step = self.model(ids[:, -1:], past_key_values=cache, use_cache=True)
                cache = step.past_key_values
                p, order = step.logits[:, -1].softmax(-1).sort(descending=True)
                if kind == 'any': p[p.cumsum(-1) - p >= TOP_P] = 0
                ids = torch.cat([ids, order.gather(1, torch.multinomial(p, 1, generator=rng))], 1)
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
        text, found = self.sample(kind), {way: {} for way in ('fisher', 'inputs', *WINDOWS)}

        def hook(name, module):
            rtn = (round_to_nearest(module.weight) - module.weight).square()
            gptq, f2 = error[name + '.weight'] - module.weight, self.f2[name, PROBE]

            def forward(_, inputs, output):
                x = inputs[0].detach().flatten(0, 1)
                scaled, moved = rtn @ x.square().mean(0) / rtn.sum(), x @ gptq.T

                def backward(delta):
                    d = delta.flatten(0, 1)
                    s = (d * moved).sum(1).reshape(text.shape)
                    alphas = {'fisher': 0.5 * float((d.T @ x).square().sum()) / (len(d) * module.weight.numel()),
                              'inputs': 0.5 * float(d.square().mean(0) @ scaled),
                              **{way: windowed(s, width) / (s.numel() * f2) for way, width in WINDOWS.items()}}
                    for way, alpha in alphas.items(): found[way].setdefault(name, []).append(alpha)
                output.register_hook(backward)
            return module.register_forward_hook(forward)

        hooks = [hook(name, self.model.get_submodule(name)) for name in self.own]
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

    def layer_inputs(self, text):
        """What each layer is given on the text, by the weights that the model has now."""
        inputs = []
        hooks = [layer.register_forward_pre_hook(lambda _, args, kwargs: inputs.append((args, kwargs)), with_kwargs=True)
                 for layer in self.model.model.layers]
        self.model.model(text, use_cache=False)
        for h in hooks: h.remove()
        return inputs

    def gain(self, name, inputs, mean):
        """Mean of E_p log q, which is minus the KL but for a constant, of the layers from that of a matrix on; mean: E_p of the
        rows of the output matrix."""
        decoder, number = self.model.model, int(name.split('.layers.')[1].split('.')[0])
        hidden = inputs[number][0]
        for layer, (_, kwargs) in zip(decoder.layers[number:], inputs[number:]):
            hidden = layer(*hidden, **kwargs)
            if not isinstance(hidden, tuple): hidden = hidden,
        h = decoder.norm(hidden[0]).flatten(0, 1)
        return float(((mean * h).sum(1) - torch.cat([x.logsumexp(-1) for x in self.chunks(h)])).mean())

    def mean_rows(self, text):
        return torch.cat([logits.softmax(-1) @ self.head
                          for logits in self.chunks(self.model.model(text, use_cache=False)[0].flatten(0, 1))]).double()

    @torch.no_grad()
    def exact(self):
        start, text = seconds(), self.sample('any')
        error = self.dequantized('--uniform', PROBE, *METHOD)
        mean, inputs, alpha = self.mean_rows(text), self.layer_inputs(text), {}
        base = self.gain(next(iter(self.own)), inputs, mean)
        for name in self.own:
            weight = self.model.get_submodule(name).weight
            weight.copy_(error[name + '.weight'])
            alpha[name] = (base - self.gain(name, inputs, mean)) / self.f2[name, PROBE]
            weight.copy_(self.original[name + '.weight'])
        return {'alpha': alpha, 'seconds': seconds() - start}

    @torch.no_grad()
    def second(self, bits):
        """alpha around the plan of mxq's, and its seconds: layers before the restored matrix are not run again."""
        start, text = seconds(), self.sample('any', 2)
        mean = self.mean_rows(text)
        plan = self.plan(self.own, bits)
        scheme = {name: m['scheme'] for name, m in json.loads(plan.read_text())['matrices'].items()}
        self.model.load_state_dict(self.dequantized('--plan', plan), strict=False)
        inputs, falls = self.layer_inputs(text), {}
        base = self.gain(next(iter(self.own)), inputs, mean)
        for name in self.own:
            weight = self.model.get_submodule(name).weight
            quantized = weight.clone()
            weight.copy_(self.original[name + '.weight'])
            falls[name] = self.gain(name, inputs, mean) - base
            weight.copy_(quantized)
        self.model.load_state_dict(self.original)
        alpha = {n: fall / self.f2[n, scheme[n]] if fall > 0 else 0.05 * self.own[n] for n, fall in falls.items()}
        return {'alpha': alpha, 'falls': falls, 'seconds': seconds() - start}

    def own_seconds(self):
        """What `mxq measure --sensitivity` takes, the calibration's text and Hessians included."""
        start = seconds()
        os.environ['MXQ_CACHE'], usual = str(self.folder / 'cache'), os.environ.get('MXQ_CACHE')
        run(self.o.mxq, 'measure', self.o.model, '--sensitivity', '-o', self.folder / 'again.csv', '--json', '--quiet', *METHOD)
        os.environ.pop('MXQ_CACHE') if usual is None else os.environ.update(MXQ_CACHE=usual)
        return {'seconds': seconds() - start}

    def print_row(self, way, cost, *alphas):
        """alphas: one for all budgets, or one for each."""
        logs = lambda alpha: [math.log(max(alpha[n], 1e-30)) for n in self.own]
        exact = logs(self.remember('exact', self.exact)['alpha'])
        alike = [f'{statistics.correlation(exact, logs(alpha)):.3f} ({statistics.pstdev(a - e for a, e in zip(logs(alpha), exact)):.3f})'
                 for alpha in alphas]
        kls = [f'{self.kl(way, alphas[i % len(alphas)], bits):.4f}' for i, bits in enumerate(BUDGETS)]
        print(f'| {way} | {cost:.0f} | {", ".join(alike)} | {" | ".join(kls)} |', flush=True)


def main():
    parser = arguments(__doc__, 32)
    b = OtherSensitivities(parser.parse_args())
    print('| way | cost, s | correlation (deviation) of ln alpha | ' + ' | '.join(f'KL at {bits}' for bits in BUDGETS) + ' |')
    print('|---|---|---|' + '---|' * len(BUDGETS))
    b.print_row('mxq', b.remember('cost of mxq', b.own_seconds)['seconds'], b.own)
    exact = b.remember('exact', b.exact)
    b.print_row('exact', exact['seconds'], exact['alpha'])
    for kind, draws, way in FISHER:
        most = max(d for k, d, _ in FISHER if k == kind)
        found = b.remember(f'{kind}, {most} draws', lambda: b.fisher(kind, most))
        alpha = {n: statistics.mean(values[:draws]) for n, values in found[way].items()}
        b.print_row(f'{way} {draws}, {kind}', found['before'] + draws * found['draw'] + (found['fit'] if way in WINDOWS else 0), alpha)
    second = [b.remember(f'second round, {bits} bits', lambda: b.second(bits)) for bits in BUDGETS]
    cost = statistics.mean(s['seconds'] for s in second)
    b.print_row('second round', cost, *(s['alpha'] for s in second))
    b.print_row('both rounds', cost, *({n: math.sqrt(a * b.own[n]) for n, a in s['alpha'].items()} for s in second))


if __name__ == '__main__':
    main()
