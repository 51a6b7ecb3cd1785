#!/usr/bin/env python3
"""GGUF files of mxq beside llama-quantize's: what is lost at the same size of the whole file, by llama-perplexity's own measure.

  gguf_vs_llama.py MXQ MODEL [--llama DIR] [--types Q2_K,Q3_K_M,IQ4_XS,Q4_K_M,...] [--imatrix] [--text FILE] [--chunks 16] [--out results.json]

MODEL is a folder of safetensors. llama.cpp's converter makes a BF16 file of it, llama-quantize each type (with --imatrix also by an
importance matrix of 40 chunks of text that is not scored: what Wikipedia has on other subjects), and mxq a file of at most the same
bytes: `mxq quantize MODEL --format gguf --size BYTES`. llama-perplexity scores all of them against the BF16 file on the same chunks
of 512 tokens: mean, median, 99 % and 99.9 % of the divergence, and how often the most likely token is the same.
Needs torch, transformers and gguf (scripts/setup.sh --peers) and llama.cpp's programs (--llama). Rows that are in --out already are
not made again. Exits 1 where a file of mxq's is larger than the one beside it, or loses more than TARGETS allow.
"""
import argparse, json, os, pathlib, re, subprocess, sys, tempfile

import quality, texts

TYPES = ['Q2_K', 'Q3_K_S', 'Q3_K_M', 'IQ3_XXS', 'IQ4_XS', 'Q4_K_S', 'Q4_K_M', 'Q5_K_M', 'Q6_K']
TARGETS = {name: 0.35 if TYPES.index(name) <= TYPES.index('Q4_K_S') else 1.0 for name in TYPES}  # mxq's mean KLD / llama.cpp's
FIELDS = {'mean': r'Mean\s+KLD:\s+([-\d.]+)', 'error': r'Mean\s+KLD:\s+[-\d.]+\s+±\s+([-\d.]+)', 'median': r'Median\s+KLD:\s+([-\d.]+)',
          '99 %': r'^99\.0%\s+KLD:\s+([-\d.]+)', '99.9 %': r'^99\.9%\s+KLD:\s+([-\d.]+)', 'same top': r'Same top p:\s+([-\d.]+)'}


def call(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors='replace')
    if done.returncode: sys.exit(f'{" ".join(map(str, command))}\n{done.stderr[-2000:]}')
    return done.stdout + done.stderr


class Bench:
    def __init__(self, options, folder):
        self.o, self.folder = options, folder
        self.rows = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
        self.plain, self.logits = folder / 'bf16.gguf', folder / 'logits.bin'
        texts.split(options.text, folder)
        self.scoring = ['-f', folder / 'scored.txt', '-c', 512, '--chunks', options.chunks, '-t', os.cpu_count()]

    def prepare(self):
        """The BF16 file and its logits, which all others are compared with."""
        if self.logits.exists(): return
        call(sys.executable, self.o.llama / 'convert_hf_to_gguf.py', self.o.model, '--outtype', 'bf16', '--outfile', self.plain)
        call(self.program('llama-perplexity'), '-m', self.plain, *self.scoring, '--kl-divergence-base', self.logits)

    def program(self, name):
        return self.o.llama / 'build/bin' / name

    def row(self, name, make):
        key = f'{self.o.model.name} {name} @{self.o.chunks}'
        if key not in self.rows:
            self.prepare()
            out = self.folder / 'out.gguf'
            out.unlink(missing_ok=True)
            more = make(out) or {}
            said = call(self.program('llama-perplexity'), '-m', out, '--kl-divergence-base', self.logits, '--kl-divergence', *self.scoring)
            found = {field: re.search(pattern, said, re.M) for field, pattern in FIELDS.items()}
            self.rows[key] = {'bytes': out.stat().st_size, **{field: float(match.group(1)) for field, match in found.items() if match}, **more}
            print(f'  {key}: {self.rows[key]}', file=sys.stderr, flush=True)
            if self.o.out: self.o.out.write_text(json.dumps(self.rows, indent=1))
        return self.rows[key]

    def theirs(self, kind, imatrix):
        matrix = self.folder / 'imatrix.gguf'
        if imatrix and not matrix.exists():
            self.prepare()
            call(self.program('llama-imatrix'), '-m', self.plain, '-f', self.folder / 'unscored.txt', '-o', matrix, '--chunks', 40, '-t', os.cpu_count())
        flags = ['--imatrix', matrix] if imatrix else []
        return self.row(f'llama {kind}{" imatrix" if imatrix else ""}',
                        lambda out: void(call(self.program('llama-quantize'), *flags, self.plain, out, kind)))

    def ours(self, size):
        def make(out):
            made = quality.run(self.o.mxq, 'quantize', self.o.model, '--format', 'gguf', '--size', f'{size}B', '-o', out, '--json', '--quiet')
            if made['files'] != {out.name: out.stat().st_size}: sys.exit('the plan promised other bytes than the file has')
            return {'bits': made['bits_per_parameter']}
        return self.row(f'mxq {size}', make)


def void(_): return None


def line(name, row, ratio=''):
    return f'| {name} | {row["bytes"] / 1e6:.1f} | ' + ' | '.join(f'{row[f]:.5f}' for f in ('mean', 'median', '99 %', '99.9 %')) + f' | {row["same top"]:.2f} % | {ratio} |'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('mxq')
    parser.add_argument('model', type=pathlib.Path)
    root = pathlib.Path(__file__).resolve().parents[1]
    parser.add_argument('--llama', type=pathlib.Path, default=root / 'build/peers/llama.cpp')
    parser.add_argument('--types', default=','.join(TYPES))
    parser.add_argument('--imatrix', action='store_true')
    shared = pathlib.Path(os.environ.get('MXQ_SHARED', root.parent / 'shared'))
    parser.add_argument('--text', type=pathlib.Path, default=shared / 'data/wikitext-2/test-joined.txt')
    parser.add_argument('--chunks', type=int, default=16)
    parser.add_argument('--out', type=pathlib.Path)
    options = parser.parse_args()
    held = True
    with tempfile.TemporaryDirectory(prefix='mxq-gguf-') as folder:
        bench = Bench(options, pathlib.Path(folder))
        print('| file | MB | mean KLD | median | 99 % | 99.9 % | same top | mxq / llama.cpp |\n|---|---|---|---|---|---|---|---|')
        for kind in options.types.split(','):
            ways = [False, True] if options.imatrix else [False]
            theirs = [(way, bench.theirs(kind, way)) for way in ways if way or not kind.startswith('IQ3')]  # which wants a matrix
            # An importance matrix adds some bytes of metadata: mxq's file is of at most the smaller one's.
            size = min(row['bytes'] for _, row in theirs)
            ours = bench.ours(size)
            held &= ours['bytes'] <= size
            for way, row in theirs:
                ratio = ours['mean'] / row['mean']
                held &= ratio <= TARGETS.get(kind, 1.0)
                print(line(f'llama.cpp {kind}{", imatrix" if way else ""}', row, f'{ratio:.2f} (at most {TARGETS.get(kind, 1.0)})'), flush=True)
            print(line('mxq', ours), flush=True)
    sys.exit(0 if held else 1)


if __name__ == '__main__':
    main()
