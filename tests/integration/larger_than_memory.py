"""A mixture of experts that memory does not hold, quantized by default and run: what --packed takes beside the files.

    python larger_than_memory.py MXQ [--gib 1.2] [--keep FOLDER]

Makes a seeded Qwen3-MoE of that size and quantizes it to 3.5 bits (kl, gptq, its own text) with --packed: the most memory that the
program and all it maps had resident at a time must be less than the files take, which a loaded model cannot do. Then scores the
checkpoint beside the model, --packed too: KL divergence must be a number below that of random answers. --keep leaves the model there.
Needs torch and transformers.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers

SHAPE = {"hidden_size": 1024, "moe_intermediate_size": 512, "num_experts": 16, "num_experts_per_tok": 4, "num_attention_heads": 8,
         "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 4096, "max_position_embeddings": 2048, "norm_topk_prob": True,
         "initializer_range": 0.03, "bos_token_id": 1, "eos_token_id": 2}


def make_model(folder, gib):
    """The bytes of its weight files."""
    layer_bytes = 2 * SHAPE["num_experts"] * 3 * SHAPE["hidden_size"] * SHAPE["moe_intermediate_size"]
    config = transformers.AutoConfig.for_model("qwen3_moe", num_hidden_layers=max(2, round(gib * 2**30 / layer_bytes)), **SHAPE)
    torch.manual_seed(17)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="64MB")
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode: sys.exit(f"{' '.join(map(str, command))}: {done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mxq")
    parser.add_argument("--gib", type=float, default=1.2)
    parser.add_argument("--keep", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        model, out = options.keep or folder / "model", folder / "out"
        size = make_model(model, options.gib)
        short = ["--schemes", "b3g64,b4g64", "--calibration-tokens", 3072, "--sample-tokens", 512, "--no-cache"]
        made = run(options.mxq, "quantize", model, "--bits", 3.5, *short, "--packed", "-o", out, "--json", "--quiet")
        scored = run(options.mxq, "eval", out, "--against", model, "--self", "--sequences", 4, "--tokens", 64, "--packed", "--json",
                     "--quiet")
    matrices, kl = len(made["matrices"]), scored["kl"]["mean"]
    for what, result, seconds in ("quantize", made, sum(made["seconds"].values())), ("eval", scored, scored["seconds"]):
        peak = result["peak_rss_bytes"]
        print(f"{what}: {matrices} matrices in {size / 2**20:.0f} MiB of files, peak memory {peak / 2**20:.0f} MiB ({peak / size:.2f}), "
              f"{seconds:.0f} s")
        if peak >= size: sys.exit(f"{what}: more memory than the files take")
    print(f"KL divergence {kl:.4f}")
    if not 0 < kl < math.log(SHAPE["vocab_size"]) / 4: sys.exit("the checkpoint answers at random")


if __name__ == "__main__":
    main()
