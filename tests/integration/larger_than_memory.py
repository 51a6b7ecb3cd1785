"""A mixture of experts that memory does not hold, quantized by default and run: what --packed takes beside the files.

    python larger_than_memory.py MXQ [--gib 1.2] [--keep FOLDER]

Makes a seeded Qwen3-MoE of that size and quantizes it to 3.5 bits (kl, gptq, its own text) with --packed: the most memory that
the program and all it maps had resident at a time must be less than the files take, which a loaded model cannot do. Then scores the checkpoint beside the
model, --packed too: KL divergence must be a number below that of random answers. --keep leaves the model there. Needs numpy.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy

HIDDEN, WIDTH, EXPERTS, HEADS, KV_HEADS, HEAD, VOCAB = 1024, 512, 16, 8, 2, 128, 4096


def bf16(values):
    return (values.astype(numpy.float32).view(numpy.uint32) >> 16).astype(numpy.uint16)


def shapes_of_layer(layer):
    prefix = f"model.layers.{layer}."
    shapes = {"self_attn.q_proj": (HEADS * HEAD, HIDDEN), "self_attn.k_proj": (KV_HEADS * HEAD, HIDDEN),
              "self_attn.v_proj": (KV_HEADS * HEAD, HIDDEN), "self_attn.o_proj": (HIDDEN, HEADS * HEAD), "self_attn.q_norm": (HEAD,),
              "self_attn.k_norm": (HEAD,), "mlp.gate": (EXPERTS, HIDDEN), "input_layernorm": (HIDDEN,),
              "post_attention_layernorm": (HIDDEN,)}
    for expert in range(EXPERTS):
        shapes |= {f"mlp.experts.{expert}.gate_proj": (WIDTH, HIDDEN), f"mlp.experts.{expert}.up_proj": (WIDTH, HIDDEN),
                   f"mlp.experts.{expert}.down_proj": (HIDDEN, WIDTH)}
    return {f"{prefix}{name}.weight": shape for name, shape in shapes.items()}


def write_file(path, shapes, random):
    header, at = {}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * math.prod(shape)]}
        at += 2 * math.prod(shape)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            scale = 1 / math.sqrt(shape[-1])
            values = numpy.ones(shape) if len(shape) == 1 else scale * random.standard_normal(shape, numpy.float32)
            file.write(bf16(values).tobytes())


def make_model(folder, gib):
    random = numpy.random.default_rng(17)
    folder.mkdir(parents=True)
    layer_bytes = sum(2 * math.prod(shape) for shape in shapes_of_layer(0).values())
    layers = max(2, round(gib * 2**30 / layer_bytes))
    parts = [shapes_of_layer(i) for i in range(layers)]
    parts.append({"model.embed_tokens.weight": (VOCAB, HIDDEN), "lm_head.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,)})
    weight_map = {}
    for i, part in enumerate(parts):
        name = f"model-{i + 1:05}-of-{len(parts):05}.safetensors"
        write_file(folder / name, part, random)
        weight_map |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": HIDDEN, "intermediate_size": WIDTH,
        "moe_intermediate_size": WIDTH, "num_experts": EXPERTS, "num_experts_per_tok": 4, "norm_topk_prob": True,
        "decoder_sparse_step": 1, "mlp_only_layers": [], "num_hidden_layers": layers, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HEAD, "vocab_size": VOCAB, "max_position_embeddings": 2048, "rope_theta": 10000.0,
        "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": False, "attention_bias": False, "torch_dtype": "bfloat16",
        "bos_token_id": 1, "eos_token_id": 2}))
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
    for what, result in ("quantize", made), ("eval", scored):
        peak = result["peak_rss_bytes"]
        print(f"{what}: {matrices} matrices in {size / 2**20:.0f} MiB of files, peak memory {peak / 2**20:.0f} MiB ({peak / size:.2f}), "
              f"{sum(result['seconds'].values()) if isinstance(result['seconds'], dict) else result['seconds']:.0f} s")
        if peak >= size: sys.exit(f"{what}: more memory than the files take")
    print(f"KL divergence {kl:.4f}")
    if not 0 < kl < math.log(VOCAB) / 4: sys.exit("the checkpoint answers at random")


if __name__ == "__main__":
    main()
