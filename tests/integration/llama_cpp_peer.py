"""GGUF files that mxq writes, run by llama.cpp: its logits are those of the model that is in the file.

    python llama_cpp_peer.py MXQ LLAMA_PERPLEXITY [NAME... | TEXT MODEL.gguf...]

Small random models with a seed of every architecture that the format has (gguf_architectures_peer.py), saved by
transformers and written as GGUF twice: with one matrix quantized and the others as they are, and with all matrices in
types of their own. What llama-perplexity keeps of its logits (--save-all-logits: 16 bits a number, the second half of
each window) is compared with transformers' of the same file, brought back by `mxq dequantize`. llama.cpp rounds
activations to 8 bits before it multiplies with quantized weights, so the bound of the second file is wide; a wrong
order of rows, a key or a table that is missing is an error of the logits' own size.

Of MODEL, written again in 5.5 bits, the perplexity of the first tokens of TEXT is compared with that of
`mxq eval --recipe llama.cpp`: 1.5 % apart at most.
"""
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers

from gguf_architectures_peer import MODELS, NEWER_MODELS, MERGED, logits_of, make_model, vocabulary

# Of the largest log-probability's distance from their mean: the worst row of the first file (0.008 where a tied embedding
# in 8 bits is the output matrix), the median row of the second, where a token may go to another expert.
BOUND_FLOAT, BOUND_TYPES = 1e-2, 2e-1
WINDOW = 256  # llama.cpp's smallest
# What llama.cpp computes otherwise, which mxq tells when it writes such a model: windows of Phi-3; yarn whose beta_fast and
# beta_slow are not 32 and 1, or whose bounds are no whole numbers (here they are 1 and 6, nearly); linear attention with
# another epsilon than 1e-6. It loads keys and values of one size only there. Rows of 48 have no types.
YARN = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
        "original_max_position_embeddings": 403}
CHANGES = {"phi3": {"sliding_window": None}, "gpt_oss": {"rope_scaling": YARN, "rope_theta": 257.0},
           "qwen2_moe": {"shared_expert_intermediate_size": 64},
           **{name: {"linear_value_head_dim": 16, "shared_expert_intermediate_size": 64, "rms_norm_eps": 1e-6}
              for name in ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text")}}
TEXT = "Twelve boats left at dawn; nine came back before the storm, and two of those leaked. " * 7


def call(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def save(model, folder):
    model.save_pretrained(folder)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    vocab = {token: i for i, token in enumerate(vocabulary())}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": level, "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": [list(MERGED)], "byte_fallback": False, "fuse_unk": False}}))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def llama_cpp(perplexity, file, text):
    """Tokens of each window, and the log-probabilities of the second half of each."""
    kept = file.with_suffix(".logits")
    call(perplexity, "-m", file, "-f", text, "-c", WINDOW, "-b", WINDOW, "--chunks", 2, "--save-all-logits", kept,
         "-t", 2, "--no-warmup", "-ngl", 0, "-ctk", "f32", "-ctv", "f32", "-fa", "off")
    raw = kept.read_bytes()
    assert raw[:8] == b"_logits_"
    window, vocab, chunks = struct.unpack_from("<Iii", raw, 8)
    at = 20 + 4 * window * chunks
    tokens = numpy.frombuffer(raw, "<i4", window * chunks, 20).reshape(chunks, window)
    row, rows = 2 * ((vocab + 1) // 2) + 4, window - 1 - window // 2
    numbers = numpy.frombuffer(raw, "<u2", chunks * rows * row, at).reshape(chunks, rows, row)
    scales = numpy.ascontiguousarray(numbers[:, :, :4]).view("<f4")
    return tokens, scales[:, :, :1] * numbers[:, :, 4 : 4 + vocab] + scales[:, :, 1:]


def log_probabilities(logits):
    """Of the rows that llama.cpp keeps; it gives nothing less than e^-16 times the most likely."""
    rows = logits[WINDOW // 2 : WINDOW - 1].astype(numpy.float64)
    rows -= rows.max(-1, keepdims=True)
    rows -= numpy.log(numpy.exp(rows).sum(-1, keepdims=True))
    return numpy.maximum(rows, rows.max(-1, keepdims=True) - 16)


def apart(found, wanted):
    """Of each row."""
    return numpy.abs(found - wanted).max(-1) / numpy.abs(wanted - wanted.mean(-1, keepdims=True)).max()


def tiny(mxq, perplexity, name, folder):
    kind, changes = {**MODELS, **NEWER_MODELS}[name]
    save(make_model(kind, {**changes, **CHANGES.get(name, {})}), folder / "model")
    text = folder / "text.txt"
    text.write_text(TEXT)
    distances = {}
    for what, options in {"floats": ("--uniform", "q8_0", "--skip", r"^(?!model\.embed_tokens)"), "types": ("--bits", 7.5, "--objective", "rel")}.items():
        file = folder / f"{what}.gguf"
        call(mxq, "quantize", folder / "model", "--format", "gguf", *options, "--fit", "mse", "-o", file, "-q")
        call(mxq, "dequantize", file, "-o", folder / what, "--dtype", "f32", "-q")
        back = transformers.AutoModelForCausalLM.from_pretrained(folder / what, attn_implementation="eager", dtype=torch.float32).eval()
        tokens, found = llama_cpp(perplexity, file, text)
        rows = numpy.concatenate([apart(rows, log_probabilities(logits_of(back, ids.tolist()))) for ids, rows in zip(tokens, found)])
        distances[what] = float(rows.max() if what == "floats" else numpy.median(rows))
    return distances


def real(mxq, perplexity, model, text, folder):
    file = folder / "out.gguf"
    call(mxq, "quantize", model, "--format", "gguf", "--bits", 5.5, "--objective", "rel", "--fit", "mse", "-o", file, "-q")
    said = call(perplexity, "-m", file, "-f", text, "-c", WINDOW, "-b", WINDOW, "--chunks", 8, "-t", 2, "--no-warmup", "-ngl", 0)
    theirs = float(re.search(r"PPL = ([0-9.]+)", said)[1])
    ours = json.loads(call(mxq, "-q", "eval", file, "--recipe", "llama.cpp", "--text", text, "--window", WINDOW, "--tokens", 8 * WINDOW, "--json"))
    return theirs, ours["perplexity"]


def main():
    mxq, perplexity, *names = sys.argv[1:]
    wrong = []
    if names and pathlib.Path(names[0]).is_file():
        for model in names[1:]:
            with tempfile.TemporaryDirectory() as temporary:
                theirs, ours = real(mxq, perplexity, model, names[0], pathlib.Path(temporary))
            bad = abs(theirs / ours - 1) > 0.015
            print(f"{'!! ' if bad else '   '}{pathlib.Path(model).name}: perplexity {theirs:.3f}, of mxq {ours:.3f}", flush=True)
            wrong += [model] if bad else []
        names = []
    else:
        names = names or list(MODELS)
    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            distances = tiny(mxq, perplexity, name, pathlib.Path(temporary))
        bad = distances["floats"] > BOUND_FLOAT or distances["types"] > BOUND_TYPES
        print(f"{'!! ' if bad else '   '}{name}: {json.dumps({k: float(f'{v:.1e}') for k, v in distances.items()})}", flush=True)
        if bad:
            wrong.append(name)
    if wrong:
        sys.exit(f"wrong: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
