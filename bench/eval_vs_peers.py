#!/usr/bin/env python3
"""Sets `mxq eval` beside transformers and llama-perplexity: same model, same text, same threads, one run.

  eval_vs_peers.py MXQ MODEL [--text FILE] [--tokens 2560] [--threads 2] [--repeat 3] [--llama DIR]
                   [--parts hf,llama,packed]

Three parts, each measurement in a process of its own (so only one model is in memory, and peak memory is that run's), the
tools taking turns, the fastest of the repeats counting; MODEL may be a folder for the first:
  hf      Hugging Face's recipe (windows of 1024, stride 512) against transformers in f32 and bf16
  llama   llama.cpp's recipe (chunks of 512, the second half scored) against llama-perplexity, F16 and the GGUF as it is
  packed  a checkpoint of 3.25 bits per parameter that stays packed in memory, against weights in bf16
Tokens a second are those of the forward passes, all tokens of all windows counted, without loading and tokenizing;
llama-perplexity's of its first pass of four chunks, the one that it prints, and transformers' up to the logits; mxq's
hold the losses too.
Prints a line for each tool, then the ratios with their targets. Exit 1 where perplexities differ by more than allowed.
Needs torch, transformers, gguf; llama-perplexity and llama-quantize (scripts/setup.sh --llama).
"""
import argparse, json, os, pathlib, re, subprocess, sys, tempfile
from dataclasses import dataclass, field

WINDOW, STRIDE, CHUNK = 1024, 512, 512
SPEED_TRANSFORMERS, SPEED_LLAMA, PACKED_MEMORY = 1.0, 1.5, 0.45
ALLOWED_F32, ALLOWED_BF16, ALLOWED_LLAMA = 0.0001, 0.01, 0.005  # relative differences of perplexity


@dataclass
class Measurement:
    tool: str
    weights: str
    compute: str
    recipe: str
    run: object  # () -> (perplexity, tokens a second, peak RSS in bytes)
    results: list = field(default_factory=list)

    @property
    def perplexity(self): return self.results[0][0]
    @property
    def speed(self): return max(speed for _, speed, _ in self.results)
    @property
    def memory(self): return max(memory for _, _, memory in self.results)


def run_process(command):
    """Both outputs of a command, and its peak RSS in bytes. The kernel counts what this process holds at the fork
    towards the child's peak: nothing large may be imported here."""
    text = {'mode': 'w+', 'errors': 'replace'}
    with tempfile.TemporaryFile(**text) as output, tempfile.TemporaryFile(**text) as log:
        child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0), log.seek(0)
        out, err = output.read(), log.read()
    if child.returncode:
        sys.exit(f'{" ".join(map(str, command))}: status {child.returncode}\n{err[-2000:]}')
    return out, err, usage.ru_maxrss * 1024


def run_mxq(options, model, *flags):
    out, _, memory = run_process([options.mxq, 'eval', model, '--text', options.text, '--tokens', options.tokens,
                                  '--threads', options.threads, '--json', *flags])
    result = json.loads(out)
    return result['perplexity'], result['tokens_per_second'], memory


def run_transformers(options, model, ids, compute):
    out, _, memory = run_process([sys.executable, __file__, 'transformers', model, ids, options.threads, compute])
    result = json.loads(out.splitlines()[-1])
    return result['perplexity'], result['tokens_per_second'], memory


def run_llama(options, model):
    out, err, memory = run_process([options.llama / 'llama-perplexity', '-m', model, '-f', options.text, '-c', CHUNK,
                                    '--chunks', options.tokens // CHUNK, '-t', options.threads])
    perplexity = re.search(r'Final estimate: PPL = ([\d.]+)', out + err)
    # Its "prompt eval time" does not wait for the threads. The time of the first pass, some chunks side by side, does.
    chunks = re.search(r'calculating perplexity over (\d+) chunks, n_ctx=\d+, batch_size=\d+, n_seq=(\d+)', out + err)
    seconds = re.search(r'perplexity: ([\d.]+) seconds per pass', out + err)
    if not perplexity or not chunks or not seconds:
        sys.exit(f'llama-perplexity printed no perplexity or no time:\n{(out + err)[-2000:]}')
    return float(perplexity[1]), min(int(chunks[1]), int(chunks[2])) * CHUNK / float(seconds[1]), memory


def transformers_worker(model, ids, threads, compute):
    """The recipe at huggingface.co/docs/transformers/perplexity, with its mean weighted by each window's new tokens."""
    import math, time
    import torch, transformers
    torch.set_num_threads(int(threads))
    model = pathlib.Path(model)
    ids = torch.tensor([[int(id) for id in pathlib.Path(ids).read_text().split()]])
    place = {'pretrained_model_name_or_path': model} if model.is_dir() else {'pretrained_model_name_or_path': model.parent,
                                                                             'gguf_file': model.name}
    network = transformers.AutoModelForCausalLM.from_pretrained(
        **place, torch_dtype=torch.float32, attn_implementation='sdpa').eval()
    if compute == 'bf16': network = network.to(torch.bfloat16)
    total, previous_end, processed, loss_sum, seconds = ids.shape[1], 0, 0, 0.0, 0.0
    with torch.inference_mode():
        network(ids[:, :64])  # the first pass also sets things up; llama.cpp leaves it out as well
        for begin in range(0, total, STRIDE):
            end = min(begin + WINDOW, total)
            window, labels = ids[:, begin:end], ids[:, begin:end].clone()
            labels[:, :previous_end - begin] = -100
            started = time.perf_counter()
            logits = network(window, use_cache=False).logits
            seconds += time.perf_counter() - started  # without the loss, which is slow in it; mxq's time has it
            loss = network.loss_function(logits, labels, network.config.vocab_size).item()
            loss_sum += loss * (end - previous_end)
            processed += end - begin
            previous_end = end
            if end == total: break
    print(json.dumps({'perplexity': math.exp(loss_sum / previous_end), 'tokens_per_second': processed / seconds}))


def embedding_bytes(model):
    """Of the input embedding in 16 bits: it stays as it is whatever the matrices become."""
    script = ('import sys; from gguf import GGUFReader; '
              'print(*[t.n_elements for t in GGUFReader(sys.argv[1]).tensors if t.name == "token_embd.weight"])')
    return 2 * int(run_process([sys.executable, '-c', script, model])[0])


def plan_measurements(options, folder):
    """Makes what the parts need in `folder` and names the measurements, in the order in which they take turns."""
    model, found = options.model, {}
    as_is = model.stem.rsplit('.', 1)[-1]

    def mxq(key, file, weights, compute, recipe, *flags):
        found[key] = Measurement('mxq', weights, compute, recipe, lambda: run_mxq(
            options, file, '--compute', compute, '--recipe', recipe, *flags))

    # transformers gets mxq's ids: from a GGUF it makes a tokenizer without the model's own splitting rules.
    ids = folder / 'ids'
    out = run_process([options.mxq, 'tokenize', model, '--text', options.text])[0]
    ids.write_text(' '.join(out.split()[:options.tokens]))
    hf = ['--window', WINDOW, '--stride', STRIDE]
    if 'hf' in options.parts:
        for compute in 'f32', 'bf16':
            mxq(f'mxq hf {compute}', model, as_is, compute, 'hf', *hf)
            found[f'transformers {compute}'] = Measurement('transformers', as_is, compute, 'hf', lambda compute=compute:
                run_transformers(options, model, ids, compute))
    if 'llama' in options.parts:
        f16 = folder / 'F16.gguf'
        run_process([options.llama / 'llama-quantize', '--allow-requantize', model, f16, 'F16'])
        for file, weights, computes in (f16, 'F16', ('bf16', 'f32')), (model, as_is, ('f32',)):
            found[f'llama {weights}'] = Measurement(
                'llama-perplexity', weights, 'f16' if weights == 'F16' else 'q8', 'llama.cpp', lambda file=file:
                run_llama(options, file))
            for compute in computes: mxq(f'mxq llama {weights} {compute}', file, weights, compute, 'llama.cpp')
    if 'packed' in options.parts:
        run_process([options.mxq, 'quantize', model, '--bits', '3.25', '-o', folder / 'checkpoint'])
        mxq('packed', folder / 'checkpoint', '3.25 bits, packed', 'bf16', 'hf', '--packed', *hf)
        if 'mxq hf bf16' not in found: mxq('mxq hf bf16', model, as_is, 'bf16', 'hf', *hf)
    return found, as_is


def print_table(measurements):
    head = ['tool', 'weights', 'compute', 'recipe', 'perplexity', 'tokens/s', 'peak RSS, MiB']
    rows = [[m.tool, m.weights, m.compute, m.recipe, f'{m.perplexity:.4f}', f'{m.speed:.0f}', f'{m.memory / 2**20:.0f}']
            for m in measurements]
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    for row in [head, ['-' * width for width in widths]] + rows:
        print('| ' + ' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) + ' |')


def print_ratios(found, as_is, options):
    """True where all perplexities agree."""
    agreed = True

    def ratio(name, value, target):
        sign, meets = ('>=', value >= target) if target >= 1 else ('<=', value <= target)
        print(f'{name}: {value:.2f} (target {sign} {target:g}{"" if meets else ", MISSED"})')

    def same(name, ours, peer, allowed):
        nonlocal agreed
        difference = found[ours].perplexity / found[peer].perplexity - 1
        agreed &= abs(difference) <= allowed
        verdict = '' if abs(difference) <= allowed else ', MISSED'
        print(f'perplexity, {name}: {difference:+.4%} (allowed {allowed:.2%}{verdict})')

    if 'hf' in options.parts:
        for compute, allowed in ('f32', ALLOWED_F32), ('bf16', ALLOWED_BF16):
            ours, peer = f'mxq hf {compute}', f'transformers {compute}'
            same(f'mxq against transformers, {compute}', ours, peer, allowed)
            ratio(f'speed, mxq / transformers, {compute}', found[ours].speed / found[peer].speed, SPEED_TRANSFORMERS)
    if 'llama' in options.parts:
        for weights in 'F16', as_is:
            same(f'mxq f32 against llama-perplexity, {weights}', f'mxq llama {weights} f32', f'llama {weights}',
                 ALLOWED_LLAMA)
        ours, peer = found['mxq llama F16 bf16'], found['llama F16']
        ratio('speed, mxq bf16 / llama-perplexity F16', ours.speed / peer.speed, SPEED_LLAMA)
    if 'packed' in options.parts:
        embedding = embedding_bytes(options.model)
        ratio(f'peak RSS beyond the embedding ({embedding / 2**20:.0f} MiB), packed / bf16',
              (found['packed'].memory - embedding) / (found['mxq hf bf16'].memory - embedding), PACKED_MEMORY)
    return agreed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('mxq', type=pathlib.Path)
    parser.add_argument('model', type=pathlib.Path)
    shared = pathlib.Path(os.environ.get('MXQ_SHARED', pathlib.Path(__file__).resolve().parents[2] / 'shared'))
    parser.add_argument('--text', type=pathlib.Path, default=shared / 'data/wikitext-2/test-joined.txt')
    parser.add_argument('--tokens', type=int, default=2560)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--llama', type=pathlib.Path, default='build/peers/llama.cpp/build/bin',
                        help="folder of llama.cpp's programs")
    parser.add_argument('--parts', type=lambda names: names.split(','), default=['hf', 'llama', 'packed'])
    options = parser.parse_args()
    if options.model.is_dir() and options.parts != ['hf']: parser.error(f'{options.model}: a folder, which only --parts hf takes')
    if options.tokens < 2 * CHUNK: parser.error(f'--tokens {options.tokens}: llama-perplexity needs {2 * CHUNK}')
    with tempfile.TemporaryDirectory() as temporary:
        found, as_is = plan_measurements(options, pathlib.Path(temporary))
        for _ in range(options.repeat):
            for measurement in found.values():
                measurement.results.append(measurement.run())
                print(f'{measurement.tool} {measurement.weights} {measurement.compute}: '
                      f'{measurement.results[-1][1]:.0f} tokens/s', file=sys.stderr)
    print(f'{options.model.name}, first {options.tokens} tokens of {options.text.name}, {options.threads} threads, '
          f'fastest of {options.repeat}')
    print_table(found.values())
    return 0 if print_ratios(found, as_is, options) else 1


if __name__ == '__main__':
    if sys.argv[1:2] == ['transformers']: transformers_worker(*sys.argv[2:])
    else: sys.exit(main())
