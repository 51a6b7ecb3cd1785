#!/usr/bin/env python3
"""Draws the pictures of docs/quality.md from what quality.py, predicted_kl.py and `mxq measure --sensitivity` wrote.

  quality_plots.py OUT --results results.json [--windows 64] [--plans plans.json] [--errors errors.csv]

`make quality` runs it. OUT/frontier.svg (divergence against size), OUT/predicted.svg (predicted against measured divergence of random plans),
OUT/sensitivity.svg (what a b3g64 probe of each matrix costs). Needs matplotlib.
"""
import argparse, csv, json, math, pathlib

import matplotlib
matplotlib.use('svg')
import matplotlib.pyplot as plt
import matplotlib.ticker

from quality import few_windows

plt.rcParams.update({'svg.hashsalt': 'mxq', 'font.size': 10, 'axes.grid': True, 'grid.alpha': 0.3,
                     'axes.spines.top': False, 'axes.spines.right': False, 'svg.fonttype': 'none'})


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={'Date': None})
    plt.close(figure)


def series_of(flags):
    """Which line of the frontier a row of quality.py belongs to."""
    has = lambda *wanted: all(w in flags for w in wanted)
    if has('--calibration'): return None
    if has('--uniform', '--fit hqq'): return 'uniform hqq'
    if has('--uniform', '--fit mse', '--normalize none'): return 'uniform mse'
    if has('--uniform', '--fit mse', '--normalize rotation'): return 'uniform mse, rotation'
    if has('--uniform', '--fit gptq', '--normalize rotation'): return 'uniform gptq, rotation'
    if has('--uniform', '--fit sinq'): return 'uniform sinq'
    if has('--uniform', '--fit rtn'): return 'uniform rtn'
    for objective in ('f2', 'f', 'rel'):
        if has(f'--objective {objective} ', '--fit mse', '--normalize none'): return f'{objective}, mse'
    if has('--objective kl', '--fit mse', '--normalize columns'): return 'kl, mse, columns'
    if has('--objective kl', '--fit mse', '--normalize rotation'): return 'kl, mse, rotation'
    if has('--objective kl', '--fit mse', '--normalize none'): return 'kl, mse'
    if flags.startswith('--bits') and '--objective' not in flags and '--fit' not in flags: return 'default: kl, gptq, rotation'
    return None


STYLE = {'uniform rtn': ('#cccccc', 'x', ':'), 'uniform hqq': ('#888888', 's', '--'), 'uniform sinq': ('#9c755f', 'P', '--'),
         'f, mse': ('#edc948', '<', '-.'), 'f2, mse': ('#ff9da7', '>', '-.'), 'rel, mse': ('#bab0ac', 'h', '-.'),
         'kl, mse, columns': ('#8cd17d', 'o', '-'), 'uniform mse': ('#b07aa1', 'D', '--'), 'uniform mse, rotation': ('#76b7b2', 'v', '--'),
         'uniform gptq, rotation': ('#f28e2b', '^', '--'), 'kl, mse': ('#59a14f', 'o', '-'),
         'kl, mse, rotation': ('#4e79a7', 'o', '-'), 'default: kl, gptq, rotation': ('#e15759', 'o', '-')}


def frontier(results, path, drawn):
    lines = {}
    for key, row in json.loads(results.read_text()).items():
        flags, windows = key.rsplit(' @', 1)
        if int(windows) == drawn and 'bits' in row and (name := series_of(flags)): lines.setdefault(name, {})[row['bits']] = row['kl']
    figure, axes = plt.subplots(figsize=(9, 4.8))
    for name, (color, marker, line) in STYLE.items():
        # Of uniform schemes the lower envelope: nobody takes b3g32 where b4g128 is as small and better.
        points, best = [], math.inf
        for bits, kl in sorted(lines.get(name, {}).items()):
            if kl < best: points.append((bits, kl)); best = kl
        if points: axes.plot(*zip(*points), color=color, marker=marker, linestyle=line, markersize=5, label=name)
    axes.set(yscale='log', xlabel='bits per parameter, all metadata counted', ylabel='KL divergence to the original, nats a token',
             title='SmolLM2-135M on WikiText-2')
    axes.legend(frameon=False, loc='upper left', bbox_to_anchor=(1, 1))
    save(figure, path)


def predicted(plans, path):
    rows = json.loads(plans.read_text())
    x, y = [r['measured'] for r in rows], [r['predicted'] for r in rows]
    figure, axes = plt.subplots(figsize=(5, 4.6))
    ends = [min(x + y) * 0.85, max(x + y) * 1.15]
    axes.plot(ends, ends, color='#888888', linewidth=1)
    axes.fill_between(ends, [e * 0.85 for e in ends], [e * 1.15 for e in ends], color='#888888', alpha=0.15, linewidth=0,
                      label='within 15 %')
    axes.plot(x, y, 'o', color='#e15759', markersize=5, label=f'{len(rows)} random plans')
    axes.set(xscale='log', yscale='log', xlim=ends, ylim=ends, xlabel='measured KL, WikiText-2', ylabel='predicted KL, no data')
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter('{x:g}')
        axis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.legend(frameon=False)
    save(figure, path)


def sensitivity(errors, path):
    cost, modules = {}, []
    for row in csv.DictReader(errors.open()):
        if row['scheme'] != 'b3g64': continue
        module = row['module'].split('.')[-1].removesuffix('_proj')
        if module not in modules: modules.append(module)
        cost[module, int(row['layer'])] = float(row['sensitivity']) * float(row['fnorm']) ** 2
    layers = sorted({layer for _, layer in cost})
    grid = [[math.log10(max(cost[m, l], 1e-6)) for l in layers] for m in modules]
    figure, axes = plt.subplots(figsize=(7, 2.8))
    image = axes.imshow(grid, aspect='auto', cmap='magma')
    axes.set(yticks=range(len(modules)), yticklabels=modules, xlabel='layer')
    axes.grid(False)
    figure.colorbar(image, label='log10 KL at b3g64')
    save(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=pathlib.Path)
    for name in ('results', 'plans', 'errors'): parser.add_argument('--' + name, type=pathlib.Path)
    parser.add_argument('--windows', type=int, default=64, help='that quality.py was given')
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    if o.results: frontier(o.results, o.out / 'frontier.svg', few_windows(o.windows))
    if o.plans: predicted(o.plans, o.out / 'predicted.svg')
    if o.errors: sensitivity(o.errors, o.out / 'sensitivity.svg')


if __name__ == '__main__':
    main()
