#!/usr/bin/env python3
"""forecast.py MXQ SMOLLM2 [ROUNDS]: what `mxq quantize --json` forecasts beside what it takes, seconds and peak memory.

The models are SmolLM2 and two Llamas of random weights that this script writes: one wide and shallow, one deep and narrow.
Jobs take turns, and medians of ROUNDS (default 3) count. Exits with 1 where a ratio forecast / actual is outside 0.5 to 2.
"""
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHAPES = {
    "wide": dict(hidden_size=2048, intermediate_size=5632, num_hidden_layers=3, num_attention_heads=16, num_key_value_heads=4,
                 vocab_size=8192),
    "deep": dict(hidden_size=384, intermediate_size=1024, num_hidden_layers=40, num_attention_heads=6, num_key_value_heads=6,
                 vocab_size=4096),
}
JOBS = {
    "defaults": ["--bits", "3.5"],
    "streaming": ["--bits", "3.5", "--objective", "rel", "--fit", "mse"],
    "uniform": ["--uniform", "b4g64"],
    "verify": ["--bits", "3.5", "--verify"],
}
ONLY_SMALL = {"verify"}  # of "deep": the others take long
BOUNDS = (0.5, 2)


def bf16(count, rng, scale):
    """So many normal numbers: drawn from a table, for speed."""
    table = [struct.unpack("<I", struct.pack("<f", rng.gauss(0, scale)))[0] >> 16 for _ in range(1 << 12)]
    piece = struct.pack(f"<{1 << 16}H", *rng.choices(table, k=1 << 16))
    pieces = []
    while count > 0:
        start = 2 * rng.randrange(1 << 12)
        part = piece[start:start + 2 * min(count, (1 << 16) - (1 << 12))]
        pieces.append(part)
        count -= len(part) // 2
    return b"".join(pieces)


def write_model(folder, shape, seed=1):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 2048,
              "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
              "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, **shape}
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "lm_head.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {layer + "self_attn.q_proj.weight": (hidden, hidden), layer + "self_attn.k_proj.weight": (keys, hidden),
                   layer + "self_attn.v_proj.weight": (keys, hidden), layer + "self_attn.o_proj.weight": (hidden, hidden),
                   layer + "mlp.gate_proj.weight": (inner, hidden), layer + "mlp.up_proj.weight": (inner, hidden),
                   layer + "mlp.down_proj.weight": (hidden, inner), layer + "input_layernorm.weight": (hidden,),
                   layer + "post_attention_layernorm.weight": (hidden,)}
    rng, header, offset = random.Random(seed), {}, 0
    for name, extents in shapes.items():
        size = 2 * extents[0] * (extents[1] if len(extents) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": list(extents), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for extents in shapes.values():
            if len(extents) == 1:
                file.write(struct.pack("<H", 0x3F80) * extents[0])
            else:
                file.write(bf16(extents[0] * extents[1], rng, extents[1] ** -0.5))
    return folder


def run(mxq, model, flags, out):
    started = time.monotonic()
    done = subprocess.run([mxq, "quantize", model, *flags, "-o", out, "--no-cache", "--json", "--quiet", "--overwrite"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wall = time.monotonic() - started
    if done.returncode: sys.exit(f"{model} {flags}: {done.stderr}")
    result = json.loads(done.stdout)
    return {"forecast s": result["forecast"]["seconds"], "s": wall, "forecast bytes": result["forecast"]["memory_bytes"],
            "bytes": result["peak_rss_bytes"], "forecast disk": result["forecast"]["disk_bytes"],
            "disk": sum(result["files"].values()), "parts": result["seconds"]}


def main():
    mxq, smollm2 = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    only = os.environ.get("ONLY", "")  # "deep defaults": for whoever tunes
    with tempfile.TemporaryDirectory() as place:
        models = {"SmolLM2": smollm2, **{name: write_model(Path(place) / name, shape) for name, shape in SHAPES.items()}}
        cases = [(model, job) for model in models for job in JOBS if job not in ONLY_SMALL or model == "deep"]
        cases = [case for case in cases if only in " ".join(case)]
        results = {case: [] for case in cases}
        for _ in range(rounds):
            for model, job in cases:
                results[model, job].append(run(mxq, models[model], JOBS[job], f"{place}/out"))
                print(model, job, results[model, job][-1], file=sys.stderr, flush=True)
    print("| model | job | forecast, s | took, s | ratio | forecast, MiB | peak RSS, MiB | ratio | disk, ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    outside = []
    for (model, job), runs in results.items():
        at = lambda key: statistics.median(r[key] for r in runs)
        ratios = [at("forecast s") / at("s"), at("forecast bytes") / at("bytes"), at("forecast disk") / at("disk")]
        print(f"| {model} | {job} | {at('forecast s'):.1f} | {at('s'):.1f} | {ratios[0]:.2f} | "
              f"{at('forecast bytes') / 2**20:.0f} | {at('bytes') / 2**20:.0f} | {ratios[1]:.2f} | {ratios[2]:.2f} |")
        outside += [f"{model} {job}" for r in ratios[:2] if not BOUNDS[0] <= r <= BOUNDS[1]]
    if outside: sys.exit("outside of a factor of two: " + ", ".join(outside))


if __name__ == "__main__":
    main()
