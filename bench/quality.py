#!/usr/bin/env python3
"""What is lost at which size: KL divergence of mixed and uniform checkpoints, of every fit, on text that no plan has seen.

  quality.py MXQ MODEL [--text FILE] [--out results.json] [--parts headline,calibration,sinq,budgets,fits,sizes,objectives,uniform]
             [--windows 64] [--few] [--quick]

Every row is a checkpoint that is written and evaluated: `mxq quantize MODEL FLAGS`, `mxq eval --against MODEL` on windows of
512 tokens of FILE (default: WikiText-2's test text from 62 to 85 % of it; degrid.py's copy was distilled on the first 60 %).
Rows that are in --out already are not made again, nor the model's own logits beside it (100 MB a window). Then prints the
tables and the targets that they meet or miss.
  headline     default (kl, gptq on the model's own text, rotation) and uniform hqq, mse, gptq at b4g64, b3g64, b3g32
  calibration  gptq on the model's own text against as many tokens of WikiText-2 that are not scored
  sinq         the sinq package, uniform (scripts/setup.sh --sinq), against the default at the same nominal bits
  budgets      kl with mse, nothing normalized, against the better of uniform hqq and mse, at 12 budgets
  fits         uniform hqq and mse over all b2, b3, b4 schemes, mse with column scales over b3 and b4
What compares our own ways with each other, and the picture of the frontier, is on the first quarter of the windows:
  sizes        default at sizes of all weight files: the embedding planned too, or left as it is
  objectives   f, f2, rel and kl with mse and with gptq, at 5 budgets
  uniform      every fit with one scheme for all, over all b2, b3, b4 schemes, and the default at 12 budgets
Only where it is named, for a file whose weights lie on a grid (SmolLM2's published GGUF):
  published    all weight files in 70 MiB, the embedding planned too or left as it is, and 4.56 bits
--few: everything on that quarter. --quick: 8 windows, headline only.
"""
import argparse, copy, json, os, pathlib, shutil, statistics, subprocess, sys, tempfile

import texts

NOMINAL = {f'b{b}g{g}': b + 16 / g + 32 / (128 * g) for b in (2, 3, 4, 8) for g in (32, 64, 128)}
HEADLINE = ['b3g64', 'b3g32', 'b4g64']
# Of the default against uniform hqq, and against its own fit uniform.
TARGET_HQQ = {'b4g64': 0.33, 'b3g64': 0.25, 'b3g32': 0.25}
TARGET_SAME_FIT = {'b4g64': 0.90, 'b3g64': 0.80, 'b3g32': 0.80}
BUDGETS = [2.25, 2.5, 2.75, 3.0, 3.25, 3.5, 3.75, 4.25, 5.0, 6.0, 7.0, 8.0]
TARGET_KL_MSE = {3.25: 0.60, 3.5: 0.60, 3.75: 0.60, 4.25: 0.60, 5.0: 0.60}
SIZES = [56, 64, 72, 80, 96, 112]  # MiB
DATA = ['--fit', 'mse', '--normalize', 'none']
PLAIN = ['--schemes', 'paper', *DATA]


def few_windows(windows):
    """How many of them mxq's own ways are compared with each other on."""
    return max(1, windows // 4)


class OutOfReach(Exception): pass


def run(*command):
    """What a command that writes JSON says."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode and 'the smallest reachable' in done.stderr: raise OutOfReach
    if done.returncode: sys.exit(f'{" ".join(map(str, command))}: {done.stderr}')
    return json.loads(done.stdout)


def evaluation(mxq, checkpoint, model, text, windows, folder):
    """The command: on windows of 512 tokens; the model itself, whose logits the folder keeps, runs only the first time."""
    logits = folder / f'{pathlib.Path(model).name}-{windows}.logits'
    return [mxq, 'eval', checkpoint, '--against', model, '--base-logits', logits, '--text', text, '--window', 512, '--stride', 512,
            '--tokens', 512 * windows, '--compute', 'auto', '--json', '--quiet']


class Bench:
    def __init__(self, options):
        self.o, self.rows, self.windows = options, {}, options.windows
        if options.out and options.out.exists(): self.rows = json.loads(options.out.read_text())
        self.temporary = tempfile.TemporaryDirectory(prefix='mxq-quality-')
        self.folder = pathlib.Path(self.temporary.name)
        texts.split(options.text, self.folder)

    def evaluate(self, checkpoint):
        return run(*evaluation(self.o.mxq, checkpoint, self.o.model, self.folder / 'scored.txt', self.windows,
                                    self.o.out.parent if self.o.out else self.folder))

    def few(self):
        """The same on few_windows()."""
        other = copy.copy(self)
        other.windows = few_windows(self.o.windows)
        return other

    def row(self, *flags):
        """KL, perplexity, bits, prediction and seconds of a checkpoint made with these flags."""
        flags = [str(flag) for flag in flags]
        key = ' '.join(flags) + f' @{self.windows}'
        if key not in self.rows:
            out = self.folder / 'out'
            flags = [str(self.folder / 'calibration.txt') if f == 'WIKITEXT' else f for f in flags]
            made = run(self.o.mxq, 'quantize', self.o.model, *flags, '-o', out, '--overwrite', '--json', '--quiet')
            found = self.evaluate(out)
            shutil.rmtree(out)
            self.rows[key] = {'kl': found['kl']['mean'], 'kl_error': found['kl']['mean_error'],
                              'perplexity': found['perplexity'], 'original': found['kl']['base_perplexity'],
                              'bits': made['bits_per_parameter'], 'predicted': made['objective']['value'],
                              'objective': made['objective']['kind'], 'seconds': made['seconds'], 'bytes': made['bytes'],
                              'peak_rss_bytes': made['peak_rss_bytes']}
            print(f'  {key}: KL {self.rows[key]["kl"]:.4f}', file=sys.stderr, flush=True)
            if self.o.out: self.o.out.write_text(json.dumps(self.rows, indent=1))
        return self.rows[key]

    def kl(self, *flags): return self.row(*flags)['kl']


def verdict(ratio, target): return f'{ratio:.2f}' + ('' if target is None else f' ({"<=" if ratio <= target else "above"} {target})')


def headline(b):
    print('| bits | uniform | hqq | mse | gptq | gptq, columns | gptq, rotation | **default** | perplexity (original) | default / hqq | '
          'default / same fit |')
    print('|---|---|---|---|---|---|---|---|---|---|---|')
    times_predicted = []
    for scheme in HEADLINE:
        hqq, mse = (b.kl('--uniform', scheme, '--fit', fit, '--normalize', 'none') for fit in ('hqq', 'mse'))
        gptq, columns, rotation = (b.row('--uniform', scheme, '--fit', 'gptq', '--normalize', normalize)
                                   for normalize in ('none', 'columns', 'rotation'))
        # Never more bytes than uniform hqq: column scales are paid for out of the budget.
        default = b.row('--bits', round(NOMINAL[scheme], 4))
        same = b.kl('--bits', round(rotation['bits'], 4))
        times_predicted.append(f'{default["kl"] / default["predicted"]:.2f}')
        print(f'| {NOMINAL[scheme]:.3f} | {scheme} | {hqq:.3f} | {mse:.3f} | {gptq["kl"]:.3f} | {columns["kl"]:.3f} | '
              f'{rotation["kl"]:.3f} | **{default["kl"]:.3f}** | {default["perplexity"]:.1f} ({default["original"]:.1f}) | '
              f'{verdict(default["kl"] / hqq, TARGET_HQQ[scheme])} | {verdict(same / rotation["kl"], TARGET_SAME_FIT[scheme])} |',
              flush=True)
    print('\n"Default / same fit" at the bytes of the uniform checkpoint, its column scales included. The default loses '
          f'{", ".join(times_predicted)} times what is predicted.')


def sizes(b):
    b = b.few()
    print('| MiB | bits | KL | embedding as it is: bits | KL | ratio |')
    print('|---|---|---|---|---|---|')
    for size in SIZES:
        planned = b.row('--size', f'{size}MiB')
        try: left = b.row('--size', f'{size}MiB', '--no-embeddings')
        except OutOfReach: left = None
        print(f'| {size} | {planned["bits"]:.2f} | {planned["kl"]:.4f} | ' +
              (f'{left["bits"]:.2f} | {left["kl"]:.4f} | {planned["kl"] / left["kl"]:.3f} |' if left else 'out of reach | | |'), flush=True)


def published(b):
    print('| budget | embedding | bits | KL |')
    print('|---|---|---|---|')
    for flags, embedding in ((('--size', '70MiB'), 'planned'), (('--size', '70MiB', '--no-embeddings'), 'as it is'),
                             (('--bits', '4.56'), 'as it is')):
        row = b.row(*flags)
        print(f'| {" ".join(flags[:2])} | {embedding} | {row["bits"]:.4f} | {row["kl"]:.4f} |', flush=True)


def budgets(b):
    print('| budget | best uniform that fits | hqq | mse | kl, mse | ratio to the better | predicted |')
    print('|---|---|---|---|---|---|---|')
    for bits in BUDGETS:
        fitting = [n for n in NOMINAL if NOMINAL[n] <= bits]
        uniform = max(fitting, key=NOMINAL.get)
        hqq, mse = (b.kl('--uniform', uniform, '--fit', fit, '--normalize', 'none') for fit in ('hqq', 'mse'))
        mixed = b.row('--bits', bits, '--objective', 'kl', *PLAIN)
        print(f'| {bits} | {uniform} | {hqq:.4f} | {mse:.4f} | {mixed["kl"]:.4f} | '
              f'{verdict(mixed["kl"] / min(hqq, mse), TARGET_KL_MSE.get(bits, 1))} | {mixed["predicted"]:.4f} |', flush=True)


def fits(b):
    print('| scheme | hqq | mse | mse / hqq | mse, columns | / hqq |')
    print('|---|---|---|---|---|---|')
    plain, columns = {}, {}
    for scheme in NOMINAL:
        if scheme[1] == '8': continue
        hqq, mse = (b.kl('--uniform', scheme, '--fit', fit, '--normalize', 'none') for fit in ('hqq', 'mse'))
        plain[scheme], cells = mse / hqq, ' | |'
        if scheme[1] != '2':
            kl = b.kl('--uniform', scheme, '--fit', 'mse', '--normalize', 'columns')
            columns[scheme] = kl / hqq
            cells = f' {kl:.4f} | {columns[scheme]:.3f} |'
        print(f'| {scheme} | {hqq:.4f} | {mse:.4f} | {plain[scheme]:.3f} |{cells}', flush=True)
    mean = lambda ratios, widths: statistics.mean(v for s, v in ratios.items() if s[1] in widths)
    print(f'\nmse / hqq, mean: b2 and b3 {verdict(mean(plain, "23"), 0.9)}, b4 {verdict(mean(plain, "4"), 1.0)}; over b3 and b4 '
          f'with columns {verdict(mean(columns, "34"), 0.60)}')


def uniform(b):
    b = b.few()
    ways = [('rtn', 'none'), ('hqq', 'none'), ('sinq', None), ('mse', 'none'), ('mse', 'columns'), ('mse', 'rotation'), ('gptq', 'rotation')]
    print('| scheme | ' + ' | '.join(', '.join(part for part in way if part and part != 'none') for way in ways) + ' |')
    print('|---|' + '---|' * len(ways))
    for scheme in NOMINAL:
        if scheme[1] == '8': continue
        cells = [b.kl('--uniform', scheme, '--fit', fit, *(('--normalize', normalize) if normalize else ())) for fit, normalize in ways]
        print(f'| {scheme} | ' + ' | '.join(f'{kl:.4f}' for kl in cells) + ' |', flush=True)
    print('\n| budget | default |\n|---|---|')
    for bits in BUDGETS: print(f'| {bits} | {b.kl("--bits", bits):.4f} |', flush=True)


def objectives(b):
    b = b.few()
    print('| bits | f | f2 | rel | kl | rel, columns | kl, columns | rel, rotation | kl, rotation | f, gptq | rel, gptq, rotation | default |')
    print('|---|---|---|---|---|---|---|---|---|---|---|---|')
    for bits in (2.75, 3.25, 3.75, 4.25, 5.0):
        cells = [b.kl('--bits', bits, '--objective', o, *PLAIN) for o in ('f', 'f2', 'rel', 'kl')]
        cells += [b.kl('--bits', bits, '--objective', o, '--schemes', 'paper', '--fit', 'mse', '--normalize', normalize)
                  for normalize in ('columns', 'rotation') for o in ('rel', 'kl')]
        cells += [b.kl('--bits', bits, '--objective', o, '--fit', 'gptq', '--normalize', normalize)
                  for o, normalize in (('f', 'none'), ('rel', 'rotation'))] + [b.kl('--bits', bits)]
        print(f'| {bits} | ' + ' | '.join(f'{kl:.4f}' for kl in cells) + ' |', flush=True)


def calibration(b):
    for scheme in ('b3g64', 'b4g64'):
        flags = ('--uniform', scheme, '--fit', 'gptq', '--normalize', 'rotation')
        own, wiki = b.kl(*flags), b.kl(*flags, '--calibration', 'WIKITEXT')
        print(f'{scheme}, gptq and rotation: KL {own:.4f} calibrated on the model\'s own text, {wiki:.4f} on WikiText-2: '
              f'{verdict(own / wiki, 1.25)}', flush=True)


def sinq(b):
    python = pathlib.Path(__file__).resolve().parents[1] / 'build/sinq-venv/bin/python'
    if not python.exists() or not (b.o.model / 'config.json').exists():
        sys.exit('part sinq: needs scripts/setup.sh --sinq and a Hugging Face folder; --parts leaves it out')
    for scheme, target in (('b4g64', 0.62), ('b3g64', 0.42)):
        key = f'sinq {scheme} @{b.windows}'
        if key not in b.rows:
            out = b.folder / 'sinq'
            subprocess.run([python, pathlib.Path(__file__).with_name('sinq_peer.py'), b.o.model, out, '--bits', scheme[1]],
                           check=True, capture_output=True)
            b.rows[key] = {'kl': b.evaluate(out)['kl']['mean']}
            shutil.rmtree(out)
            if b.o.out: b.o.out.write_text(json.dumps(b.rows, indent=1))
        peer, default = b.rows[key]['kl'], b.kl('--bits', round(NOMINAL[scheme], 4))
        ours = b.kl('--uniform', scheme, '--fit', 'sinq', '--metadata', 'f32')
        print(f'{scheme}: KL {peer:.4f} by the sinq package, {ours:.4f} by our --fit sinq (unquantized metadata, as there), '
              f'{default:.4f} by default: {verdict(default / peer, target)}', flush=True)


def arguments(description, windows):
    """What a Bench needs, as a parser that others may add to."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('mxq'); parser.add_argument('model', type=pathlib.Path)
    shared = pathlib.Path(os.environ.get('MXQ_SHARED', pathlib.Path(__file__).resolve().parents[2] / 'shared'))
    parser.add_argument('--text', type=pathlib.Path, default=shared / 'data/wikitext-2/test-joined.txt')
    parser.add_argument('--out', type=pathlib.Path); parser.add_argument('--windows', type=int, default=windows)
    return parser


def main():
    parser = arguments(__doc__, 64)
    parts = {f.__name__: f for f in (headline, calibration, sinq, budgets, fits, sizes, objectives, uniform)}
    everywhere = list(parts)
    parts['published'] = published
    parser.add_argument('--parts', type=lambda names: names.split(','), default=everywhere)
    parser.add_argument('--few', action='store_true'); parser.add_argument('--quick', action='store_true')
    o = parser.parse_args()
    if o.few: o.windows = few_windows(o.windows)
    if o.quick: o.parts, o.windows = ['headline'], 8
    bench = Bench(o)
    for name in o.parts:
        print(f'\n## {name}\n')
        parts[name](bench)


if __name__ == '__main__':
    main()
