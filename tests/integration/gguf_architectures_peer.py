"""Every architecture that mxq reads from GGUF: a model written as llama.cpp's convert_hf_to_gguf.py does, with the gguf
package, and what mxq makes of it against the model itself in transformers.

    python gguf_architectures_peer.py MXQ [MODEL...]

Small random models with a seed; Qwen3.5's with transformers 5.3 alone, where the command names them. Of each:
- `mxq dequantize` gives a folder whose weights equal the model's to the bit (A_log, of which GGUF has -exp(A_log),
  within 1e-6), and whose logits in transformers are the
  model's own;
- `mxq eval` of the GGUF gives the same logits, within 1e-4 of the largest;
- where transformers reads GGUF of the architecture, it finds the same weights, and the same logits unless its own
  reading leaves out keys (those are printed).
"""

import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

import gguf
import numpy
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from config_fields_peer import TEXT, ours

BOUND = 1e-4
COMMON = dict(vocab_size=257, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10000.0, bos_token_id=0,
              eos_token_id=1, tie_word_embeddings=False)
LONG = [1.0, 1.5, 2.0, 3.0, 5.0, 8.0]
MODELS = {
    "llama": ("llama", dict(head_dim=16, attention_bias=True, mlp_bias=True)),
    # The only original length that the converter's table stands for.
    "llama3": ("llama", dict(head_dim=16, rope_theta=5e5, max_position_embeddings=131072,
                             rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                           "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})),
    "mistral": ("mistral", dict(head_dim=16, sliding_window=None)),
    "qwen2": ("qwen2", dict(rope_scaling={"rope_type": "yarn", "factor": 4.0, "beta_fast": 16.0,
                                          "original_max_position_embeddings": 64})),
    "qwen3": ("qwen3", dict(head_dim=24)),
    # With Google's head_dim, which transformers takes for granted where it reads GGUF.
    "gemma2": ("gemma2", dict(head_dim=256, query_pre_attn_scalar=256, sliding_window=9, tie_word_embeddings=True)),
    "gemma3_270m": ("gemma3_text", dict(head_dim=256, query_pre_attn_scalar=256, num_key_value_heads=1, sliding_window=9,
                                        num_hidden_layers=7, rope_theta=1e6, tie_word_embeddings=True)),
    "gemma3": ("gemma3_text", dict(head_dim=16, query_pre_attn_scalar=16, sliding_window=9, num_hidden_layers=7,
                                   rope_theta=1e6, rope_local_base_freq=500.0, tie_word_embeddings=True,
                                   rope_scaling={"rope_type": "linear", "factor": 8.0})),
    "gemma3_full": ("gemma3_text", dict(head_dim=16, query_pre_attn_scalar=16, sliding_window_pattern=1,
                                        tie_word_embeddings=True)),
    "phi3": ("phi3", dict(sliding_window=9, partial_rotary_factor=0.75, pad_token_id=0)),
    "phi4": ("phi3", dict(sliding_window=None, partial_rotary_factor=0.75, pad_token_id=0, tie_word_embeddings=True,
                          original_max_position_embeddings=64,
                          rope_scaling={"type": "longrope", "short_factor": LONG[::-1], "long_factor": LONG})),
    "smollm3": ("smollm3", dict(num_hidden_layers=5, pad_token_id=0, tie_word_embeddings=True)),
    "olmo2": ("olmo2", {}),
    "granite": ("granite", dict(embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.22,
                                logits_scaling=6.0, attention_bias=True)),
    "glm4": ("glm4", dict(head_dim=24, partial_rotary_factor=0.5, attention_bias=True, pad_token_id=0)),
    "cohere2": ("cohere2", dict(num_hidden_layers=5, sliding_window=9, logit_scale=0.25, layer_norm_eps=1e-5,
                                tie_word_embeddings=True)),
    "mixtral": ("mixtral", dict(num_local_experts=4, num_experts_per_tok=2)),
    "qwen2_moe": ("qwen2_moe", dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                    shared_expert_intermediate_size=48)),
    "qwen3_moe": ("qwen3_moe", dict(head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                    norm_topk_prob=True)),
    "gpt_oss": ("gpt_oss", dict(head_dim=16, num_local_experts=4, num_experts_per_tok=2, sliding_window=9,
                                rope_scaling={"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0,
                                              "truncate": False, "original_max_position_embeddings": 64})),
}
# Linear attention: two value heads a key head, in three layers of four.
DELTA = dict(head_dim=16, num_hidden_layers=5, rms_norm_eps=0.02, linear_conv_kernel_dim=4, linear_key_head_dim=16,
             linear_value_head_dim=12, linear_num_key_heads=2, linear_num_value_heads=4)
ROTARY = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=40)
MODELS["qwen3_next"] = ("qwen3_next", dict(**DELTA, **EXPERTS, partial_rotary_factor=0.5, norm_topk_prob=True))
NEWER_MODELS = {"qwen3_5_text": ("qwen3_5_text", dict(**DELTA, rope_parameters=ROTARY)),
                "qwen3_5_moe_text": ("qwen3_5_moe_text", dict(**DELTA, **EXPERTS, rope_parameters=ROTARY))}
# transformers 4.57 reads GGUF of these.
LOADED = {"llama", "llama3", "qwen2", "gemma2", "gemma3_270m", "gemma3", "gemma3_full", "phi3"}
# What it makes of keys that it does not read, where that is not what the model has.
LEFT_OUT = {"qwen2": {"rope_scaling"}, "llama": {"attention_bias", "mlp_bias"}, "llama3": {"rope_scaling"},
            "gemma3": {"rope_scaling", "rope_local_base_freq", "query_pre_attn_scalar"},
            "gemma3_full": {"layer_types", "query_pre_attn_scalar"},
            "phi3": {"partial_rotary_factor", "sliding_window"}}
ARCHITECTURES = {"mistral": "llama", "gemma3_text": "gemma3", "mixtral": "llama", "qwen2_moe": "qwen2moe",
                 "qwen3_moe": "qwen3moe", "gpt_oss": "gpt-oss", "qwen3_next": "qwen3next", "qwen3_5_text": "qwen35",
                 "qwen3_5_moe_text": "qwen35moe"}  # where GGUF calls it otherwise
ROWS_IN_PAIRS = {"llama", "mistral", "mixtral", "granite", "smollm3"}
MIXTURES = {"mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss", "qwen3_next", "qwen3_5_moe_text"}
LINEAR = {"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"}
VALUE_HEADS_BY_TURNS = LINEAR - {"qwen3_next"}

MERGED = "th"


def vocabulary():
    return [*sorted(pre_tokenizers.ByteLevel.alphabet()), MERGED]


def ids_of(text):
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary())}, [tuple(MERGED)]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.encode(text).ids


def make_model(kind, changes):
    config = transformers.AutoConfig.for_model(kind, **{**COMMON, **changes})
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            values = 1 + 0.3 * torch.randn_like(p) if "norm" in name else 0.2 * torch.randn_like(p)
            p.copy_(values.bfloat16().float())  # as models are published: 1 + w is exact then
    return model


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False, return_dict=True).logits[0].numpy()


def apart(found, wanted):
    return float(numpy.abs(found - wanted[: len(found)]).max() / numpy.abs(wanted).max())


def in_pairs(weight, heads):
    """LlamaModel.permute() of convert_hf_to_gguf.py."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def llama3_table(config, head):
    """LlamaModel.generate_extra_tensors(): what frequencies are divided by."""
    scaling, table = config.rope_scaling, []
    low, high, length = (scaling[f] for f in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings"))
    for i in range(0, head, 2):
        wave = 2 * math.pi * config.rope_theta ** (i / head)
        if wave < length / high:
            table.append(1.0)
        elif wave > length / low:
            table.append(scaling["factor"])
        else:
            mix = (length / wave - low) / (high - low)
            table.append(1 / ((1 - mix) / scaling["factor"] + mix))
    return table


def write_keys(writer, kind, config):
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    if kind != "qwen3_5_moe_text":
        writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    if kind == "cohere2":
        writer.add_layer_norm_eps(config.layer_norm_eps)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if kind in {"llama", "mistral", "qwen3", "qwen3_moe", "gemma2", "gemma3_text", "glm4", "gpt_oss"} | LINEAR:
        writer.add_key_length(head)
        writer.add_value_length(head)
    if kind in LINEAR:
        write_linear(writer, config, head)
    elif kind != "gemma2":
        writer.add_rope_freq_base(config.rope_theta)
    if kind in ROWS_IN_PAIRS:
        writer.add_rope_dimension_count(head)
        writer.add_vocab_size(config.vocab_size)
    scaling = getattr(config, "rope_scaling", None) or {}
    if scaling.get("rope_type") in {"linear", "yarn"}:
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling["rope_type"]))
        writer.add_rope_scaling_factor(scaling["factor"])
    if scaling.get("rope_type") == "yarn":
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
    if scaling.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", numpy.array(llama3_table(config, head), numpy.float32))
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
        writer.add_sliding_window(config.sliding_window)
    if kind == "gemma3_text":
        writer.add_rope_freq_base_swa(config.rope_local_base_freq)
        if config._sliding_window_pattern != 1:
            writer.add_sliding_window(config.sliding_window)
    if kind == "phi3":
        write_phi3(writer, config, head)
    if kind in MIXTURES:
        writer.add_expert_count(getattr(config, "num_local_experts", None) or config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if kind in MIXTURES - {"mixtral", "gpt_oss"}:
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if kind == "gpt_oss":
        writer.add_expert_feed_forward_length(config.intermediate_size)
        writer.add_sliding_window(config.sliding_window)
    if kind in {"qwen2_moe", "qwen3_next", "qwen3_5_moe_text"}:
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    if kind == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    if kind == "glm4":
        writer.add_rope_dimension_count(int(head * config.partial_rotary_factor))
    if kind == "cohere2":
        writer.add_logit_scale(config.logit_scale)
        writer.add_sliding_window(config.sliding_window)
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(head)
        writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)


def write_linear(writer, config, head):
    settings = getattr(config, "rope_parameters", None) or config.to_dict()
    writer.add_rope_freq_base(settings["rope_theta"])
    writer.add_rope_dimension_count(int(head * settings["partial_rotary_factor"]))
    writer.add_ssm_conv_kernel(config.linear_conv_kernel_dim)
    writer.add_ssm_state_size(config.linear_key_head_dim)
    writer.add_ssm_group_count(config.linear_num_key_heads)
    writer.add_ssm_time_step_rank(config.linear_num_value_heads)
    writer.add_ssm_inner_size(config.linear_value_head_dim * config.linear_num_value_heads)
    writer.add_full_attention_interval(4)


def by_turns(values, dim, config, size):
    """_LinearAttentionVReorderBase._reorder_v_heads()."""
    keys = config.linear_num_key_heads
    shape = values.shape[:dim] + (keys, config.linear_num_value_heads // keys, size) + values.shape[dim + 1:]
    return values.reshape(shape).swapaxes(dim, dim + 1).reshape(values.shape)


def linear_tensors(kind, config, tensor, values):
    """Qwen3NextModel.modify_tensors(): HF's names as the tensor map knows them, and what the file holds."""
    keys, size = config.linear_num_key_heads, config.linear_value_head_dim
    queries_and_keys = 2 * keys * config.linear_key_head_dim
    if tensor.endswith("in_proj_qkvz.weight"):
        each = [config.linear_key_head_dim] * 2 + [config.linear_num_value_heads // keys * size] * 2
        parts = numpy.split(values.reshape(keys, -1, values.shape[1]), numpy.cumsum(each)[:3], axis=1)
        q, k, v, z = (part.reshape(-1, values.shape[1]) for part in parts)
        block = f"blk.{tensor.split('.')[2]}"
        return [(f"{block}.attn_qkv.weight", numpy.concatenate([q, k, v])), (f"{block}.attn_gate.weight", z)]
    if tensor.endswith("conv1d.weight"):
        values = values.squeeze(1)
    if kind in VALUE_HEADS_BY_TURNS:
        if ".in_proj_qkv." in tensor or ".conv1d." in tensor:
            behind = by_turns(values[queries_and_keys:], 0, config, size)
            values = numpy.concatenate([values[:queries_and_keys], behind])
        elif ".in_proj_z." in tensor:
            values = by_turns(values, 0, config, size)
        elif ".out_proj." in tensor:
            values = by_turns(values, 1, config, size)
        elif not tensor.endswith("linear_attn.norm.weight"):
            values = by_turns(values, 0, config, 1)
    if tensor.endswith(".A_log"):
        values = -numpy.exp(values)
    return [(tensor.replace(".dt_bias", ".dt_proj.bias"), values)]


def write_phi3(writer, config, head):
    original = config.original_max_position_embeddings
    writer.add_rope_dimension_count(int(config.partial_rotary_factor * head))
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_sliding_window(config.sliding_window or 0)
    if config.rope_scaling:
        times = config.max_position_embeddings / original
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(times) / math.log(original)))
        for name in ("long", "short"):
            writer.add_tensor(f"rope_factors_{name}.weight",
                              numpy.array(config.rope_scaling[f"{name}_factor"], numpy.float32))


def write_tokenizer(writer):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary())
    writer.add_token_types([gguf.TokenType.NORMAL] * len(vocabulary()))
    writer.add_token_merges([" ".join(MERGED)])


def with_stacks(kind, state):
    """The matrices of all experts of a layer as one tensor, under the name that the tensor map knows."""
    stacks = {}
    for name, values in state.items():
        if name.endswith(".sinks"):
            yield name + ".weight", values
        elif kind == "gpt_oss" and (match := re.fullmatch(r"(.*\.experts\.)(gate_up|down)_proj(_bias)?", name)):
            before, module, bias = match.groups()
            rows = values if bias else values.transpose(1, 2)
            for part, number in {"gate_up": [("gate", 0), ("up", 1)], "down": [("down", 0)]}[module]:
                step = 2 if module == "gate_up" else 1
                yield f"{before}{part}_proj.{'bias' if bias else 'weight'}", rows[:, number::step]
        elif match := re.fullmatch(r"(.*\.experts\.)gate_up_proj", name):  # of transformers 5
            for part, rows in zip(("gate", "up"), values.chunk(2, dim=1)):
                yield f"{match[1]}{part}_proj.weight", rows
        elif name.endswith(".experts.down_proj"):
            yield f"{name}.weight", values
        elif match := re.fullmatch(r"(.*\.experts)\.\d+(\..*)", name):
            stacks.setdefault("".join(match.groups()), []).append(values)
        else:
            yield name, values
    for name, values in stacks.items():
        yield name, torch.stack(values)


def write_gguf(path, kind, model):
    config, name = model.config, ARCHITECTURES.get(kind, kind)
    writer = gguf.GGUFWriter(path, name)
    write_keys(writer, kind, config)
    write_tokenizer(writer)
    for token in ("bos", "eos", "pad"):
        if (known := getattr(config, f"{token}_token_id")) is not None:
            getattr(writer, f"add_{token}_token_id")(known)
    architecture = next(a for a, its_name in gguf.MODEL_ARCH_NAMES.items() if its_name == name)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for tensor, values in with_stacks(kind, model.state_dict()):
        if config.tie_word_embeddings and tensor == "lm_head.weight":
            continue
        data = values.numpy()
        if kind in ROWS_IN_PAIRS and ".q_proj." in tensor:
            data = in_pairs(data, config.num_attention_heads)
        if kind in ROWS_IN_PAIRS and ".k_proj." in tensor:
            data = in_pairs(data, config.num_key_value_heads)
        plus_one = kind.startswith("gemma") or kind in LINEAR and not tensor.endswith("linear_attn.norm.weight")
        if plus_one and tensor.endswith("norm.weight"):
            data = data + 1
        written = linear_tensors(kind, config, tensor, data) if ".linear_attn." in tensor else [(tensor, data)]
        for name, values in written:
            gguf_name = name if name.startswith("blk.") else names.get_name(name, try_suffixes=(".weight", ".bias"))
            writer.add_tensor(gguf_name, numpy.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def same_weights(what, found, wanted):
    assert found.keys() == wanted.keys(), f"{what}: {found.keys() ^ wanted.keys()}"
    for name, tensor in wanted.items():
        off = (tensor - found[name]).abs().max()
        assert off <= (1e-6 if name.endswith(".A_log") else 0), f"{what}: {name} differs by {off}"


def check(mxq, name, folder):
    kind, changes = {**MODELS, **NEWER_MODELS}[name]
    ids = ids_of(TEXT)
    model = make_model(kind, changes)
    wanted = logits_of(model, ids)
    file = folder / "gguf" / "model.gguf"
    file.parent.mkdir()
    (file.parent / "text.txt").write_text(TEXT)
    write_gguf(file, kind, model)
    subprocess.run([mxq, "-q", "dequantize", file, "-o", folder / "hf", "--dtype", "f32"], check=True)

    back = transformers.AutoModelForCausalLM.from_pretrained(folder / "hf", attn_implementation="eager",
                                                             dtype=torch.float32).eval()
    same_weights("dequantized", back.state_dict(), model.state_dict())
    assert back.config.model_type == ("llama" if kind == "mistral" else kind), back.config.model_type
    distances = {"dequantized": apart(logits_of(back, ids), wanted)}
    found, message = ours(mxq, file.parent)
    assert found is not None, message
    distances["eval"] = apart(found, wanted)
    report = ""
    if name in LOADED:
        peer = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32,
                                                                 attn_implementation="eager").eval()
        peer_weights = peer.state_dict()
        same_weights("transformers' reading", {k: peer_weights[k] for k in back.state_dict() if k in peer_weights},
                     {k: v for k, v in back.state_dict().items() if k in peer_weights})
        given, own = peer.config.to_dict(), back.config.to_dict()
        differ = {f for f in LEFT_OUT.get(name, ()) if given.get(f) != own.get(f)}
        if differ:
            report = f"; transformers' reading leaves out {', '.join(sorted(differ))}"
        else:
            distances["transformers' reading"] = apart(logits_of(peer, ids), wanted)
    print(f"{name}: {json.dumps({k: float(f'{v:.1e}') for k, v in distances.items()})}{report}", flush=True)
    return {what: distance for what, distance in distances.items() if not distance < BOUND}


def main():
    mxq, wrong = sys.argv[1], []
    for name in sys.argv[2:] or list(MODELS):
        with tempfile.TemporaryDirectory() as temporary:
            for what, distance in check(mxq, name, pathlib.Path(temporary)).items():
                wrong.append(f"{name}, {what}: {distance:.1e}")
    if wrong:
        sys.exit("\n".join(["wrong:", *wrong]))


if __name__ == "__main__":
    main()
