#!/usr/bin/env python3
"""How well objectives of the weights alone rank plans, by the perplexities that the paper's authors published for Llama-2-7B.

  authors_ranking.py MXQ [--data shared/data/mxq-paper]

Their plans are solved again from their error table (they publish none): mxq1 minimises sum F, kurt-scaled sum F (1 + k), k the
kurtosis scaled to 0 .. 1. That these are their plans shows in the sizes of the files that they publish, to 10 MB: the bytes of a plan,
with 3-bit codes packed ten to a word along axis 0 as hqq does, differ from them by a constant and the rounding alone. Two plans,
uniform HQQ's among them, are a pair if they differ by less than 0.02 bits per parameter and by more than 0.002 in ln perplexity; an
objective is right where the plan of the lower sum has the lower perplexity.
"""
import argparse, csv, itertools, json, math, os, pathlib, statistics, subprocess, tempfile

MODEL = 'Llama-2-7b-hf'


PACKED_BITS = {'b3g32': 4.0, 'b3g64': 3.5, 'b3g128': 3.25}  # by hqq, axis 0
OBJECTIVES = {
    'sum F': lambda f, n, k, reference: f,
    'sum F (1 + k)': lambda f, n, k, reference: f * (1 + k),
    'sum F^2': lambda f, n, k, reference: f * f,
    'sum of weights F^2 / F(b4g64)^2': lambda f, n, k, reference: n * (f / reference) ** 2,
}
FACTORS = {'mxq1': lambda k: 1, 'kurt-scaled': lambda k: 1 + k}


class Table:
    def __init__(self, path):
        with path.open() as file: self.rows = list(csv.DictReader(file))
        self.schemes = {}  # matrix -> scheme -> (F, weights, k)
        for row in self.rows:
            self.schemes.setdefault(f'{row["layer"]}.{row["module"]}', {})[f'b{row["nbit1"]}g{row["gsize1"]}'] = (
                float(row['fnorm']), float(row['params']), float(row['kurtosis_scaled']))

    def scaled(self, path, factor):
        with path.open('w') as file:
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(row | {'fnorm': float(row['fnorm']) * factor(float(row['kurtosis_scaled']))} for row in self.rows)

    def values(self, plan):
        found = dict.fromkeys(OBJECTIVES, 0.0)
        for matrix, schemes in self.schemes.items():
            f, n, k = schemes[plan[matrix]]
            for name, of in OBJECTIVES.items(): found[name] += of(f, n, k, schemes['b4g64'][0])
        return found

    def gigabytes(self, plan):
        """Of hqq's files, the quantized matrices alone."""
        bits = lambda s: PACKED_BITS.get(s, int(s[1])) + (16 + 32 / 128) / int(s[3:])
        return sum(schemes[plan[matrix]][1] * bits(plan[matrix]) / 8 for matrix, schemes in self.schemes.items()) / 2**30


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = pathlib.Path(os.environ.get('MXQ_SHARED', pathlib.Path(__file__).resolve().parents[2] / 'shared'))
    parser.add_argument('mxq'); parser.add_argument('--data', type=pathlib.Path, default=shared / 'data/mxq-paper')
    o = parser.parse_args()
    table = Table(o.data / f'fnorm-{MODEL}.csv')
    plans, differences = [], {}  # (bits, ln perplexity, values, algorithm); attempt -> published GB less ours
    with tempfile.TemporaryDirectory() as folder:
        for attempt, factor in FACTORS.items(): table.scaled(pathlib.Path(folder, f'{attempt}.csv'), factor)
        for row in csv.DictReader((o.data / 'combined.csv').open()):
            if not row['ppl_wikitext'] or not (row['attempt'] in FACTORS or row['algo'] == 'hqq'): continue
            plan = dict.fromkeys(table.schemes, row['config'])
            if row['algo'] != 'hqq':
                done = subprocess.run([o.mxq, 'plan', '--errors', pathlib.Path(folder, f'{row["attempt"]}.csv'), '--bits', row['bpp'],
                                       '--objective', 'f', '--json', '--quiet'], capture_output=True, text=True)
                if done.returncode: raise SystemExit(done.stderr)
                plan = {name: m['scheme'] for name, m in json.loads(done.stdout)['matrices'].items()}
                if row['model_storage_size']:
                    differences.setdefault(row['attempt'], []).append(float(row['model_storage_size']) - table.gigabytes(plan))
            plans.append((float(row['bpp']), math.log(float(row['ppl_wikitext'])), table.values(plan), row['attempt'] or 'hqq'))

    for attempt, found in differences.items():
        print(f'{attempt}: published size less ours {statistics.mean(found):.3f} GB, standard deviation {statistics.pstdev(found):.4f} '
              f'over {len(found)} plans')
    print(f'{MODEL}: {len(plans)} plans with a perplexity\n')
    print('| pairs | number | ' + ' | '.join(OBJECTIVES) + ' |')
    print('|---|---|' + '---|' * len(OBJECTIVES))
    pairs = [(a, b) for a, b in itertools.combinations(plans, 2) if abs(a[0] - b[0]) < 0.02 and abs(a[1] - b[1]) > 0.002]
    for name, wanted in (('all', lambda a, b: True), ('above 3 bits', lambda a, b: min(a[0], b[0]) > 3),
                         ('mixed and uniform', lambda a, b: (a[3] == 'hqq') != (b[3] == 'hqq'))):
        chosen = [(a, b) for a, b in pairs if wanted(a, b)]
        right = [sum((a[2][objective] < b[2][objective]) == (a[1] < b[1]) for a, b in chosen) for objective in OBJECTIVES]
        print(f'| {name} | {len(chosen)} | ' + ' | '.join(f'{r / len(chosen):.2f}' if chosen else '-' for r in right) + ' |')


if __name__ == '__main__':
    main()
