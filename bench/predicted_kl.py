#!/usr/bin/env python3
"""How well predicted divergences are those that are measured: random plans, quantized and evaluated.

  predicted_kl.py MXQ MODEL --text FILE [--plans 40] [--windows 64] [--own 8] [--seed 1] [--out plans.json] [-- METHOD...]

A plan draws each matrix's scheme at random, around a level that differs from plan to plan. Predicted: the objective kl, the
sum of sensitivity * F^2 (`mxq measure --sensitivity METHOD...`). Measured: `mxq eval --against MODEL` on windows of 512
tokens of FILE, which no plan has seen, and of the first --own plans `--self`: on what the model samples afresh. Prints each
plan's figures, and for both texts the median of |predicted - measured| / measured where the measured one is below 0.5, and
R^2 of ln predicted against ln measured. Plans that --out has are not measured again, but predicted again.
"""
import argparse, csv, json, math, pathlib, random, statistics, subprocess, sys, tempfile

from quality import evaluation


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode: sys.exit(f'{" ".join(map(str, command))}: {done.stderr}')
    return done.stdout


def read_table(path):
    """name -> {scheme: (bits per parameter, bytes, fnorm)}, name -> sensitivity."""
    errors, sensitivity = {}, {}
    with open(path) as file:
        for row in csv.DictReader(file):
            size = int(row['bytes'])
            errors.setdefault(row['matrix'], {})[row['scheme']] = (8 * size / int(row['params']), size, float(row['fnorm']))
            sensitivity[row['matrix']] = float(row['sensitivity'])
    return errors, sensitivity


def random_plan(errors, rng):
    level = rng.uniform(2.9, 5.5)
    plan = {}
    for name, schemes in errors.items():
        names = list(schemes)
        plan[name] = rng.choices(names, [math.exp(-abs(schemes[s][0] - level) / 0.6) for s in names])[0]
    return plan


def r_squared(x, y):
    return statistics.correlation(x, y) ** 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('mxq'); parser.add_argument('model')
    parser.add_argument('--text', required=True); parser.add_argument('--plans', type=int, default=40)
    parser.add_argument('--windows', type=int, default=64); parser.add_argument('--own', type=int, default=8)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--out', type=pathlib.Path)
    # argparse takes what is behind -- for arguments of its own where others with a dash come before.
    arguments, method = sys.argv[1:], []
    if '--' in arguments: arguments, method = arguments[:arguments.index('--')], arguments[arguments.index('--') + 1:]
    o = parser.parse_args(arguments)
    rng = random.Random(o.seed)
    rows = []
    if o.out and o.out.exists():
        rows = json.loads(o.out.read_text())
        if any((r['windows'], r['seed']) != (o.windows, o.seed) for r in rows): rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        logits = o.out.parent if o.out else folder
        run(o.mxq, 'measure', o.model, '--sensitivity', '-o', folder / 'errors.csv', '--quiet', *method)
        template = json.loads(run(o.mxq, 'plan', o.model, '--bits', '4', '--json', '--quiet', *method))
        errors, sensitivity = read_table(folder / 'errors.csv')
        for number in range(o.plans):
            schemes = random_plan(errors, rng)
            predicted = sum(sensitivity[n] * errors[n][s][2] ** 2 for n, s in schemes.items())
            if number < len(rows):
                if rows[number]['schemes'] != schemes: sys.exit(f'{o.out}: its plans are of another model or method')
                rows[number]['predicted'] = predicted
                continue
            template['matrices'] = {name: {'scheme': s, 'bytes': errors[name][s][1], 'fnorm': errors[name][s][2]}
                                    for name, s in schemes.items()}
            template['bytes'] = sum(m['bytes'] for m in template['matrices'].values())
            (folder / 'plan.json').write_text(json.dumps(template))
            run(o.mxq, 'quantize', o.model, '--plan', folder / 'plan.json', '-o', folder / 'out', '--overwrite', '--quiet')
            measured = json.loads(run(*evaluation(o.mxq, folder / 'out', o.model, o.text, o.windows, logits)))
            rows.append({'predicted': predicted, 'measured': measured['kl']['mean'], 'bytes': template['bytes'],
                         'schemes': schemes, 'windows': o.windows, 'seed': o.seed})
            shown = f'{number + 1:3} predicted {predicted:.4f} measured {rows[-1]["measured"]:.4f}'
            if number < o.own:
                own = run(o.mxq, 'eval', folder / 'out', '--against', o.model, '--self', '--compute', 'auto', '--json', '--quiet')
                rows[-1]['own_text'] = json.loads(own)['kl']['mean']
                shown += f', on its own text {rows[-1]["own_text"]:.4f}'
            print(shown, flush=True)
            if o.out: o.out.write_text(json.dumps(rows))
    if o.out: o.out.write_text(json.dumps(rows))
    for key, text in (('measured', 'FILE'), ('own_text', 'the model\'s own text')):
        of = [r for r in rows if key in r]
        below = [r for r in of if r[key] < 0.5]
        if len(of) < 3 or not below: continue
        print(f'{len(of)} random plans on {text}, KL {min(r[key] for r in of):.3f} to {max(r[key] for r in of):.3f}: R^2 of ln KL '
              f'{r_squared([math.log(r["predicted"]) for r in of], [math.log(r[key]) for r in of]):.4f}; median '
              f'|predicted - measured| / measured of the {len(below)} below 0.5: '
              f'{statistics.median(abs(r["predicted"] - r[key]) / r[key] for r in below):.3f}')


if __name__ == '__main__':
    main()
