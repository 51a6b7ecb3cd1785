"""Runs a small model of every architecture in transformers: the reference for src/model/runner/cpu/tiny_decoders_test.cc.

    python make_tiny_decoders.py

rewrites tiny_decoders.json beside it. With transformers 4.57 it makes all models but those of OF_TRANSFORMERS_5, which
stay as the file has them; with transformers 5.3, in a virtual environment of its own (pip install transformers==5.3.0
torch==2.13.0), it makes those alone.

Weights come from a formula of a tensor's name and an element's index (value() below; the test computes the same), so
that none are stored. The JSON holds of each model its config.json as transformers writes it, the names and shapes of
its tensors and the logits at some positions, fp32 with eager attention, to five decimals. A second run gives the same
file, byte for byte (checked with transformers 4.57.6 and torch 2.13.0 on a CPU).
"""

import json
import pathlib

import numpy
import torch
import transformers

VOCAB = 64
LENGTH = 40
POSITIONS = [0, 11, 26, 39]

COMMON = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, rope_theta=10000.0,
              tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)

# Two value heads for each key head. A large epsilon: what the first token puts out is v times some number, which a norm
# would make v or -v. Keys of 16 numbers hardly ever are all small, which their norm would make large.
LINEAR = dict(rms_norm_eps=0.02, linear_conv_kernel_dim=4, linear_key_head_dim=16, linear_value_head_dim=12,
              linear_num_key_heads=2, linear_num_value_heads=4)

MODELS = {
    "llama2": ("Llama", dict(num_key_value_heads=4)),
    # Wavelengths from 6 to 1,100: some stay, some are mixed, some are stretched.
    "llama3": ("Llama", dict(head_dim=16, rope_theta=400.0,
                             rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                           "high_freq_factor": 4.0, "original_max_position_embeddings": 64})),
    "llama_linear": ("Llama", dict(rope_scaling={"rope_type": "linear", "factor": 4.0})),
    "llama_yarn": ("Llama", dict(head_dim=16, rope_theta=400.0,
                                 rope_scaling={"rope_type": "yarn", "factor": 8.0,
                                               "original_max_position_embeddings": 32})),
    "llama_yarn_scaled": ("Llama", dict(head_dim=16, rope_theta=400.0,
                                        rope_scaling={"rope_type": "yarn", "factor": 4.0, "beta_fast": 8.0,
                                                      "beta_slow": 0.5, "mscale": 1.5, "mscale_all_dim": 0.5,
                                                      "truncate": False})),
    # The texts are longer than what the model was made for.
    "llama_dynamic": ("Llama", dict(max_position_embeddings=24, rope_scaling={"rope_type": "dynamic", "factor": 4.0})),
    "llama_longrope": ("Llama", dict(original_max_position_embeddings=24,
                                     rope_scaling={"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0, 3.0],
                                                   "long_factor": [1.0, 3.0, 7.0, 16.0]})),
    "llama_longrope_short": ("Llama", dict(rope_scaling={"rope_type": "longrope", "factor": 4.0,
                                                         "short_factor": [1.0, 1.5, 2.0, 3.0],
                                                         "long_factor": [1.0, 3.0, 7.0, 16.0]})),
    "llama_bias": ("Llama", dict(attention_bias=True, mlp_bias=True, rms_norm_eps=0.25)),
    "smollm": ("Llama", dict(hidden_size=36, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)),
    "mistral": ("Mistral", dict(sliding_window=7)),
    "mistral_nemo": ("Mistral", dict(sliding_window=None, head_dim=4, num_key_value_heads=1)),
    "qwen2": ("Qwen2", dict(tie_word_embeddings=True)),
    "qwen2_window": ("Qwen2", dict(use_sliding_window=True, sliding_window=7, max_window_layers=1)),
    "qwen2_pattern": ("Qwen2", dict(num_hidden_layers=3, use_sliding_window=True, sliding_window=7, max_window_layers=0,
                                    layer_types=["sliding_attention", "full_attention", "sliding_attention"])),
    "qwen3_pattern": ("Qwen3", dict(head_dim=8, attention_bias=True, use_sliding_window=True, sliding_window=7,
                                    layer_types=["sliding_attention", "full_attention"])),
    "qwen3": ("Qwen3", dict(head_dim=16, rope_theta=1e6)),
    "ministral": ("Ministral", dict(head_dim=8, sliding_window=7, layer_types=["full_attention", "sliding_attention"])),
    "gemma2": ("Gemma2", dict(head_dim=16, query_pre_attn_scalar=20, sliding_window=7, attn_logit_softcapping=2.0,
                              final_logit_softcapping=3.0, tie_word_embeddings=True)),
    "gemma3": ("Gemma3Text", dict(head_dim=16, query_pre_attn_scalar=20, sliding_window=7, sliding_window_pattern=2,
                                  rope_theta=1e5, rope_local_base_freq=500.0, num_hidden_layers=3,
                                  rope_scaling={"rope_type": "linear", "factor": 4.0}, tie_word_embeddings=True)),
    "phi3": ("Phi3", dict(sliding_window=7, partial_rotary_factor=0.5, num_key_value_heads=2, hidden_size=64,
                          pad_token_id=0)),
    "phi3_longrope": ("Phi3", dict(original_max_position_embeddings=24, pad_token_id=0,
                                   rope_scaling={"type": "longrope", "short_factor": [1.0, 1.5, 2.0, 3.0],
                                                 "long_factor": [1.0, 3.0, 7.0, 16.0]})),
    "smollm3": ("SmolLM3", dict(num_hidden_layers=3, no_rope_layer_interval=2, use_sliding_window=True,
                                sliding_window=7, pad_token_id=0)),
    "olmo2": ("Olmo2", dict(num_key_value_heads=2)),
    "granite": ("Granite", dict(embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.6,
                                logits_scaling=2.0, attention_bias=True)),
    "glm4": ("Glm4", dict(head_dim=16, partial_rotary_factor=0.5, pad_token_id=0)),
    "cohere2": ("Cohere2", dict(num_hidden_layers=3, sliding_window=7, sliding_window_pattern=2, logit_scale=0.5,
                                layer_norm_eps=1e-5, tie_word_embeddings=True)),
    "mixtral": ("Mixtral", dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=7)),
    # Every token goes to all experts, so that nothing jumps where weights change a little.
    "mixtral_all": ("Mixtral", dict(num_local_experts=3, num_experts_per_tok=3)),
    "qwen2_moe": ("Qwen2Moe", dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=24,
                                   shared_expert_intermediate_size=40, use_sliding_window=True, sliding_window=7)),
    "qwen2_moe_all": ("Qwen2Moe", dict(num_experts=3, num_experts_per_tok=3, moe_intermediate_size=24,
                                       shared_expert_intermediate_size=40)),
    # Dense layers between the others.
    "qwen3_moe": ("Qwen3Moe", dict(head_dim=16, num_hidden_layers=3, num_experts=6, num_experts_per_tok=3,
                                   norm_topk_prob=True, moe_intermediate_size=24, mlp_only_layers=[1])),
    "qwen3_moe_usual": ("Qwen3Moe", dict(head_dim=16, num_experts=6, num_experts_per_tok=3, norm_topk_prob=True,
                                         moe_intermediate_size=24)),
    "gpt_oss": ("GptOss", dict(head_dim=16, rope_theta=400.0, num_local_experts=4, num_experts_per_tok=2,
                               sliding_window=7, rope_scaling={"rope_type": "yarn", "factor": 8.0, "truncate": False,
                                                               "original_max_position_embeddings": 32})),
    "gpt_oss_all": ("GptOss", dict(head_dim=16, num_local_experts=3, num_experts_per_tok=3, sliding_window=7,
                                   attention_bias=False, rope_scaling=None,
                                   layer_types=["full_attention", "sliding_attention"])),
    # So wide that one activation in a hundred is clamped.
    "gpt_oss_clamped": ("GptOss", dict(hidden_size=96, head_dim=16, num_local_experts=3, num_experts_per_tok=2,
                                       sliding_window=7, rope_scaling=None)),
    # Linear attention, with gated attention in the last layer; a dense layer among mixtures.
    "qwen3_next": ("Qwen3Next", dict(**LINEAR, head_dim=16, num_hidden_layers=3, full_attention_interval=3,
                                     partial_rotary_factor=0.5, num_experts=4, num_experts_per_tok=2,
                                     moe_intermediate_size=24, shared_expert_intermediate_size=40, mlp_only_layers=[1])),
    "qwen3_next_all": ("Qwen3Next", dict(**LINEAR, head_dim=16, attention_bias=True, num_experts=3,
                                         num_experts_per_tok=3, norm_topk_prob=False, moe_intermediate_size=24,
                                         shared_expert_intermediate_size=40,
                                         layer_types=["full_attention", "linear_attention"])),
    "qwen3_next_usual": ("Qwen3Next", dict(**LINEAR, head_dim=16, num_hidden_layers=5, partial_rotary_factor=0.5,
                                           num_experts=4, num_experts_per_tok=2, norm_topk_prob=True,
                                           moe_intermediate_size=24, shared_expert_intermediate_size=40)),
    "qwen3_5": ("Qwen3_5Text", dict(**LINEAR, head_dim=16, num_hidden_layers=4,
                                    rope_parameters={"rope_type": "default", "rope_theta": 10000.0,
                                                     "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1],
                                                     "mrope_interleaved": True})),
    "qwen3_5_moe": ("Qwen3_5MoeText", dict(**{**LINEAR, "linear_key_head_dim": 32}, head_dim=16, num_hidden_layers=4, num_experts=4,
                                           num_experts_per_tok=2, moe_intermediate_size=24,
                                           shared_expert_intermediate_size=40,
                                           rope_parameters={"rope_type": "default", "rope_theta": 10000.0,
                                                            "partial_rotary_factor": 0.5})),
    "qwen3_5_moe_all": ("Qwen3_5MoeText", dict(**{**LINEAR, "linear_key_head_dim": 32}, head_dim=16, num_experts=3, num_experts_per_tok=3,
                                               moe_intermediate_size=24, shared_expert_intermediate_size=40,
                                               layer_types=["full_attention", "linear_attention"])),
    # Where GGUF leaves something to the architecture, as all published models have it.
    "gemma2_usual": ("Gemma2", dict(head_dim=16, query_pre_attn_scalar=16, num_hidden_layers=3, sliding_window=7,
                                    tie_word_embeddings=True)),
    "gemma3_usual": ("Gemma3Text", dict(head_dim=16, query_pre_attn_scalar=16, num_hidden_layers=7, sliding_window=7,
                                        rope_theta=1e6, rope_scaling={"rope_type": "linear", "factor": 8.0},
                                        tie_word_embeddings=True)),
    "smollm3_usual": ("SmolLM3", dict(num_hidden_layers=5, pad_token_id=0)),
    "cohere2_usual": ("Cohere2", dict(num_hidden_layers=5, sliding_window=7, logit_scale=0.5, layer_norm_eps=1e-5,
                                      tie_word_embeddings=True)),
}

# Architectures that transformers 4 does not have.
OF_TRANSFORMERS_5 = {"qwen3_5", "qwen3_5_moe", "qwen3_5_moe_all"}

MASK = (1 << 64) - 1


def fnv1a(text: str) -> int:
    state = 0xCBF29CE484222325
    for byte in text.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


IDS = [fnv1a(str(i)) % VOCAB for i in range(LENGTH)]


def value(name: str, count: int) -> numpy.ndarray:
    """Elements 0 to count - 1: splitmix64 of the name's FNV-1a hash and the index; 16 bits of it, so exact in fp32."""
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(fnv1a(name)) + (numpy.arange(count, dtype=numpy.uint64) + numpy.uint64(1)) * numpy.uint64(
            0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    uniform = ((z >> numpy.uint64(48)).astype(numpy.float64) - 32768) / 32768  # [-1, 1)
    return (1 + uniform / 4 if name.endswith("norm.weight") else uniform / 2).astype(numpy.float32)


def run(kind: str, changes: dict) -> dict:
    config = getattr(transformers, kind + "Config")(**{**COMMON, **changes})
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    state = {name: torch.from_numpy(value(name, tensor.numel())).reshape(tensor.shape)
             for name, tensor in model.state_dict().items()
             if not (config.tie_word_embeddings and name == "lm_head.weight")}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and missing == (["lm_head.weight"] if config.tie_word_embeddings else [])
    model.tie_weights()
    with torch.no_grad():
        logits = model(torch.tensor([IDS])).logits[0]
    written = json.loads(config.to_json_string())
    for name in ("transformers_version", "dtype"):
        written.pop(name, None)
    return {"config": written, "tensors": {name: list(tensor.shape) for name, tensor in state.items()},
            "logits": [[round(float(x), 5) for x in logits[at]] for at in POSITIONS]}


def lines(items, indent: int) -> str:
    return ",\n".join(" " * indent + item for item in items)


def main() -> None:
    torch.set_num_threads(1)
    path = pathlib.Path(__file__).with_name("tiny_decoders.json")
    kept, newer = json.loads(path.read_text())["models"], int(transformers.__version__.split(".")[0]) >= 5
    models = []
    for name, model in MODELS.items():
        if (name in OF_TRANSFORMERS_5) != newer and name not in kept:
            continue  # for the other transformers
        result = run(*model) if (name in OF_TRANSFORMERS_5) == newer else kept[name]
        logits = lines([json.dumps(row) for row in result["logits"]], 4)
        models.append(f'"{name}": {{\n   "config": {json.dumps(result["config"])},\n'
                      f'   "tensors": {json.dumps(result["tensors"])},\n   "logits": [\n{logits}]}}')
    path.write_text(f'{{"ids": {IDS},\n "positions": {POSITIONS},\n "models": {{\n{lines(models, 2)}}}}}\n')


if __name__ == "__main__":
    main()
