"""Every field of transformers' configuration classes, changed by turns: mxq's logits follow transformers', or mxq
refuses the model with a message that names the field.

    python config_fields_peer.py MXQ [ARCHITECTURE...]

Tiny random models with a seed. Each line says a field, a value and what was found: "equal" (logits within 2e-3 of the
largest, changed or not by the field), "refused" (the message names the field), "transformers fails" (it makes no
logits of such a value, so mxq's are compared with nothing). Anything else fails.
"""

import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

transformers.logging.set_verbosity(transformers.logging.CRITICAL)
torch.set_num_threads(1)

TEXT = "Twelve boats left at dawn; nine came back before the storm, and two of those leaked. " * 2
VOCAB = 256
BASE = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.15, bos_token_id=0,
            eos_token_id=1, pad_token_id=None, head_dim=8, tie_word_embeddings=False)
SLIDING, FULL, LINEAR = "sliding_attention", "full_attention", "linear_attention"
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}

LONGROPE = {"rope_type": "longrope", "short_factor": [1.0, 2.0, 3.0, 4.0], "long_factor": [2.0, 4.0, 8.0, 16.0]}

# Where a type says too little: values that mean something.
VALUES = {
    "vocab_size": [VOCAB + 16],
    "hidden_size": [64],
    "intermediate_size": [40],
    "num_hidden_layers": [1, 2],
    "num_attention_heads": [2, 8],
    "num_key_value_heads": [1, 4, None],
    "head_dim": [16, 12],
    "hidden_act": ["swish", "gelu", "gelu_pytorch_tanh", "gelu_new", "relu", "tanh"],
    "rope_theta": [100.0, 1e6],
    "rope_scaling": [{"rope_type": "default"}, {"rope_type": "linear", "factor": 3.0}, {"type": "linear", "factor": 3.0},
                     {"rope_type": "linear"}, {"rope_type": "dynamic", "factor": 2.0},
                     {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}, LLAMA3,
                     {"rope_type": "yarn", "factor": 4.0, "mscale": 2.0, "mscale_all_dim": 0.5, "beta_fast": 8.0},
                     {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.7, "truncate": False, "beta_slow": 3},
                     LONGROPE, {**LONGROPE, "factor": 4.0}, {**LONGROPE, "original_max_position_embeddings": 64},
                     {k: v for k, v in LLAMA3.items() if k != "low_freq_factor"}, {"factor": 2.0}],
    "rms_norm_eps": [0.3, 1e-5],
    "layer_norm_eps": [0.3, 1e-5],
    "hidden_activation": ["silu", "relu", "gelu"],
    "no_rope_layers": [[1, 0, 1], [0, 0, 0], [1, 1]],
    "no_rope_layer_interval": [2, 3],
    "sliding_window_pattern": [3, 1],
    "swiglu_limit": [7.0],
    "query_pre_attn_scalar": [4, 50],
    "attn_logit_softcapping": [1.0, None],
    "final_logit_softcapping": [1.0, None],
    "original_max_position_embeddings": [64, 256, None],
    "num_local_experts": [3, 0],
    "num_experts": [3, 0],
    "num_experts_per_tok": [1, 4, 5],
    "decoder_sparse_step": [2, 4],
    "mlp_only_layers": [[1], [0, 2], None],
    "moe_intermediate_size": [40],
    "shared_expert_intermediate_size": [24],
    "sliding_window": [5, None],
    "use_sliding_window": [True],
    "max_window_layers": [0, 1],
    "layer_types": [[SLIDING, FULL, SLIDING], [FULL] * 3, ["chunked_attention"] * 3, [FULL], [LINEAR, LINEAR, FULL]],
    "full_attention_interval": [2, 3],
    "linear_conv_kernel_dim": [1, 3],
    "linear_key_head_dim": [16],
    "linear_value_head_dim": [20],
    "linear_num_key_heads": [1, 4, 3],
    "linear_num_value_heads": [2, 8, 5],
    "tie_word_embeddings": [True],
    "attention_bias": [True],
    "mlp_bias": [True],
    "partial_rotary_factor": [0.5, 1.0],
    "is_causal": [False],
    "pruned_heads": [{"0": [1]}],
    "model_type": [],    # the architecture itself
    "id2label": [{"0": "a"}],
    "label2id": [{"a": 0}],
    "architectures": [["Other"]],
    "bos_token_id": [None, 3],
    "eos_token_id": [None, [1, 2]],
    "pad_token_id": [2],
    "dtype": ["float32"],
}
# Fields that only count beside others.
BESIDE = {
    "sliding_window": {"use_sliding_window": True, "max_window_layers": 1},
    "use_sliding_window": {"sliding_window": 5, "max_window_layers": 1},
    "max_window_layers": {"sliding_window": 5, "use_sliding_window": True},
    "layer_types": {"sliding_window": 5, "use_sliding_window": True},
    "original_max_position_embeddings": {"rope_scaling": LONGROPE},
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
# rms_norm_eps: what the first token puts out is v times some number, which a norm would make v or -v.
DELTA = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 12,
         "partial_rotary_factor": 0.5, "layer_types": [LINEAR, FULL, LINEAR], "rms_norm_eps": 0.02}
# What the base of a kind says beside BASE.
KINDS = {"llama": {}, "mistral": {}, "ministral": {"sliding_window": 7}, "qwen2": {}, "qwen3": {},
         "gemma2": {"query_pre_attn_scalar": 12, "sliding_window": 7, "hidden_activation": "gelu_pytorch_tanh"},
         "gemma3_text": {"query_pre_attn_scalar": 12, "sliding_window": 7, "sliding_window_pattern": 2},
         "phi3": {"pad_token_id": 2}, "smollm3": {}, "olmo2": {},
         "granite": {"attention_multiplier": 0.3, "embedding_multiplier": 2.0, "residual_multiplier": 0.5,
                     "logits_scaling": 3.0},
         "glm4": {"pad_token_id": 2}, "cohere2": {"sliding_window": 7, "sliding_window_pattern": 2, "logit_scale": 0.5},
         "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2}, "qwen2_moe": {**EXPERTS,
         "shared_expert_intermediate_size": 40}, "qwen3_moe": {**EXPERTS, "norm_topk_prob": True},
         "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 7},
         "qwen3_next": {**EXPERTS, **DELTA, "norm_topk_prob": True, "shared_expert_intermediate_size": 40}}
# Of transformers 5 alone, in an environment of its own; named on the command line.
ROTARY = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 0]}
NEWER_KINDS = {"qwen3_5_text": {**DELTA, "rope_parameters": ROTARY},
               "qwen3_5_moe_text": {**EXPERTS, **DELTA, "shared_expert_intermediate_size": 40,
                                    "rope_parameters": ROTARY}}
EXTRA = ["partial_rotary_factor", "original_max_position_embeddings", "is_causal", "mlp_bias", "attention_bias", "sliding_window", "layer_types", "rope_scaling"]


def base_of(kind):
    return {**KINDS, **NEWER_KINDS}[kind]


def values_of(name, default):
    if name in VALUES:
        return VALUES[name]
    if isinstance(default, bool):
        return [not default]
    if isinstance(default, int):
        return [default + 1, default + 7]
    if isinstance(default, float):
        return [default + 0.5]
    if isinstance(default, str):
        return ["other"]
    return [True, 2]


def write_tokenizer(folder):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    # Else the model_type's class would add tokens of its own.
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return tokenizer.encode(TEXT).ids


def random_model(config):
    """With weights that a seed gives."""
    config._attn_implementation = "eager"
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(1 + 0.3 * torch.randn_like(p) if "norm" in name else 0.2 * torch.randn_like(p))
    return model


def reference(folder, ids):
    """Writes weights for the folder's config.json; transformers' logits."""
    model = random_model(transformers.AutoConfig.from_pretrained(folder))
    with torch.no_grad():
        state = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
        if model.config.tie_word_embeddings:
            state.pop("lm_head.weight", None)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        outputs = model(torch.tensor([ids]), use_cache=False, return_dict=True)
        return outputs.logits[0].double().numpy()


def ours(mxq, folder):
    logits = folder.with_name(folder.name + ".logits")  # nothing is written into a model
    done = subprocess.run([mxq, "-q", "eval", folder, "--against", folder, "--base-logits", logits, "--text",
                           folder / "text.txt"], capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr.strip()
    raw = logits.read_bytes()
    logits.unlink()
    rows, vocab = struct.unpack_from("<qq", raw, 40)
    return numpy.frombuffer(raw, "<f4", offset=64).reshape(rows, vocab), ""


def judge(mxq, folder, config, ids, name):
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink(missing_ok=True)
    try:
        wanted = reference(folder, ids)
    except Exception as error:  # whatever it is, there are no logits to compare with
        return True, f"transformers fails ({type(error).__name__})"
    got, message = ours(mxq, folder)
    if got is None:
        return name in message, f"refused: {message}"
    wanted = wanted[: len(got)]
    if wanted.shape != got.shape:
        return False, f"shapes {got.shape} and {wanted.shape}"
    apart = numpy.abs(wanted - got).max() / max(1e-9, numpy.abs(wanted).max())
    return bool(apart < 2e-3), f"{'equal' if apart < 2e-3 else 'WRONG'} ({apart:.1e})"


def main():
    mxq = sys.argv[1]
    wrong, tried = [], 0
    for kind in sys.argv[2:] or list(KINDS):
        defaults = transformers.AutoConfig.for_model(kind).to_dict()
        defaults.update({k: v for k, v in transformers.PretrainedConfig().to_dict().items() if k not in defaults})
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary) / "model"
            folder.mkdir()
            ids = write_tokenizer(folder)
            (folder / "text.txt").write_text(TEXT)
            base = {"model_type": kind, "sliding_window": None, **BASE, **base_of(kind)}
            cases = [("nothing", None, base)]
            for name in sorted(set(defaults) | set(EXTRA)):
                for value in values_of(name, defaults.get(name)):
                    cases.append((name, value, {**base, **BESIDE.get(name, {}), name: value}))
                if name not in ("model_type",) and name in base:
                    cases.append((name, "(left out)", {k: v for k, v in base.items() if k != name}))
            for name, value, config in cases:
                good, found = judge(mxq, folder, config, ids, name)
                tried += 1
                print(f"{'   ' if good else '!! '}{kind} {name} = {json.dumps(value)[:70]}: {found[:160]}", flush=True)
                if not good:
                    wrong.append(f"{kind} {name} = {json.dumps(value)}")
    print(f"{tried} configurations, {len(wrong)} wrong")
    if wrong or not tried:
        sys.exit("\n".join(["wrong:", *wrong]))


if __name__ == "__main__":
    main()
