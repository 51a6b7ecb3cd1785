#!/usr/bin/env python3
"""What a plan is worth: KL divergence of mixed plans against uniform ones of the same bytes, on text that no plan has seen.

  quality.py MXQ MODEL [--text FILE] [--tokens 8192] [--schemes b3g64,...] [--budgets 3.5,...]

For each scheme: the uniform checkpoint by hqq and by mse, and the mixed plan (objective kl, mse) for the same budget. For
each further budget of bits a weight: the mixed plan against the best uniform scheme that fits. Every checkpoint is written
and evaluated (`mxq eval --against MODEL`, llama.cpp's recipe). Prints a row each and the ratio to the better uniform one.
"""
import argparse, json, os, pathlib, shutil, subprocess, sys, tempfile

NOMINAL = {f'b{b}g{g}': b + 16 / g + 32 / (128 * g) for b in (2, 3, 4, 8) for g in (32, 64, 128)}


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode: sys.exit(f'{" ".join(map(str, command))}: {done.stderr}')
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('mxq'); parser.add_argument('model', type=pathlib.Path)
    shared = pathlib.Path(os.environ.get('MXQ_SHARED', pathlib.Path(__file__).resolve().parents[2] / 'shared'))
    parser.add_argument('--text', type=pathlib.Path, default=shared / 'data/wikitext-2/test-joined.txt')
    parser.add_argument('--tokens', type=int, default=8192)
    parser.add_argument('--schemes', type=lambda names: names.split(','), default=['b3g64', 'b3g32', 'b4g64'])
    parser.add_argument('--budgets', type=lambda names: names.split(','), default=['3.5', '5.0'])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        def kl(*flags):
            out = pathlib.Path(folder) / 'out'
            made = run(options.mxq, 'quantize', options.model, *flags, '-o', out, '--json', '--quiet')
            found = run(options.mxq, 'eval', out, '--against', options.model, '--text', options.text, '--tokens',
                        options.tokens, '--recipe', 'llama.cpp', '--compute', 'bf16', '--json', '--quiet')
            shutil.rmtree(out)
            return made, found['kl']['mean'], found['perplexity'], found['kl']['base_perplexity']

        print('| budget | uniform scheme | KL hqq | KL mse | KL mixed | mixed / better uniform | predicted KL | perplexity '
              '| of the original |')
        print('|---|---|---|---|---|---|---|---|---|')
        for budget in options.schemes + options.budgets:
            uniform = budget if budget in NOMINAL else max((n for n in NOMINAL if NOMINAL[n] <= float(budget)),
                                                           key=NOMINAL.get)
            hqq, mse = (kl('--uniform', uniform, '--fit', fit)[1] for fit in ('hqq', 'mse'))
            plan, mixed, perplexity, base = kl('--bits', budget, '--objective', 'kl')
            print(f'| {budget} | {uniform} | {hqq:.3f} | {mse:.3f} | {mixed:.3f} | {mixed / min(hqq, mse):.2f} | '
                  f'{plan["objective"]["value"]:.3f} | {perplexity:.1f} | {base:.1f} |', flush=True)


if __name__ == '__main__':
    main()
