#!/usr/bin/env python3
"""Writes the seed corpora corpus/config, corpus/error_table, corpus/plan and corpus/tokenizer_json beside this file: tiny
valid and broken inputs. Deterministic: running this again changes nothing."""
import json

from make_corpus import put

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 160,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "eos_token_id": [2, 3], "sliding_window": None,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 64},
}
QUANTIZATION = {
    "quant_method": "mxq", "version": 1, "fit": "mse", "axis": 1, "metadata": "q8",
    "matrices": {"model.layers.0.self_attn.q_proj": {"scheme": "b4g64", "rows": 64, "cols": 64},
                 "model.layers.0.mlp.up_proj": {"scheme": "b3g32", "rows": 160, "cols": 64, "column_scales": True}},
}
HEADER = "layer,module,nbit1,gsize1,nbit2,gsize2,fnorm,memmb,params"
ROWS = ["0,self_attn.q_proj,2,64,8,128,4.5,1.125,4194304", "0,self_attn.q_proj,4,64,8,128,1.5,2.125,4194304",
        "1,mlp.up_proj,2,64,8,128,9,2.25,8388608", "1,mlp.up_proj,4,64,8,128,3.25,4.25,8388608"]
PLAN = {
    "objective": {"kind": "rel", "value": 1.5, "lower_bound": 1.5, "gap": 0}, "bits_per_parameter": 3.25, "bytes": 10,
    "budget_bytes": 12, "solver": "exact", "seconds": 0.25,
    "best_uniform": {"scheme": "b3g64", "objective": 2.5, "bytes": 11},
    "quantize": {"fit": "mse", "axis": 1, "metadata": "q8"},
    "matrices": {"model.layers.0.self_attn.q_proj": {"scheme": "b4g64", "bytes": 10, "fnorm": 0.5}},
}
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES = {
    "added_tokens": [{"id": 5, "content": "<s>", "special": True, "lstrip": True, "rstrip": True, "normalized": False}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)|[^\\s\\p{L}]"}, "behavior": "Isolated", "invert": False}, LEVEL]},
    "decoder": LEVEL,
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
    "model": {"type": "BPE", "ignore_merges": True, "vocab": {"a": 0, "b": 1, "\u0120": 2, "ab": 3, "abab": 4},
              "merges": ["a b", "ab ab"]},
}
PIECES = {
    "added_tokens": [{"id": 1, "content": "<s>", "special": True, "normalized": True}],
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "decoder": {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
              "vocab": {"<unk>": 0, "<s>": 1, "\u2581": 2, "a": 3, "\u2581a": 4, "<0xC3>": 5, "<0xA9>": 6},
              "merges": [["\u2581", "a"]]},
}
UNIGRAM = {
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Nmt"}, {"type": "Replace", "pattern": {"Regex": "(?<!\\n)^"}, "content": "\u2581"},
        {"type": "Replace", "pattern": {"Regex": " "}, "content": "\u2581"}]},
    "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": True,
              "vocab": [["<unk>", 0], ["\u2581", -2], ["a", -3.25], ["ab", -4.0000000000000001], ["<0xC3>", -9], ["<0xA9>", 1e2]]},
}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}


def text(target, name, value):
    put(target, name, (value if isinstance(value, str) else json.dumps(value)).encode())


def main():
    text("config", "plain", CONFIG)
    text("config", "checkpoint", CONFIG | {"quantization_config": QUANTIZATION})
    text("config", "other-method", CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    text("config", "huge", CONFIG | {"hidden_size": 2**62})
    matrices = {"w": {"scheme": "b8g32", "rows": 2**31, "cols": 2**31}}
    text("config", "huge-matrix", CONFIG | {"quantization_config": QUANTIZATION | {"matrices": matrices}})
    text("config", "broken", json.dumps(CONFIG)[:-7])
    table = "\n".join([HEADER, *ROWS]) + "\n"
    text("error_table", "plain", table)
    text("error_table", "crlf-quoted", table.replace("\n", "\r\n").replace("self_attn.q_proj", '"self_attn.q_proj"'))
    text("error_table", "twice", table + ROWS[0])
    text("error_table", "nan", table.replace("4.5", "nan"))
    text("error_table", "huge", table.replace("1.125", "1e300"))
    text("error_table", "short-row", table.replace(",4194304", "", 1))
    text("plan", "plain", PLAN)
    text("plan", "no-uniform", PLAN | {"best_uniform": None})
    text("plan", "negative", PLAN | {"bytes": -1})
    text("plan", "empty", {})
    text("tokenizer_json", "bytes", json.dumps(BYTES) + "\0abab <s> 12 ab\u00e9")
    text("tokenizer_json", "pieces", json.dumps(PIECES) + "\0a <s>aa \u00e9x")
    text("tokenizer_json", "metaspace", PIECES | {"normalizer": None, "pre_tokenizer": METASPACE, "decoder": METASPACE})
    text("tokenizer_json", "huge-id", BYTES | {"model": {"vocab": {"a": 2**32}, "merges": []}})
    text("tokenizer_json", "unigram", json.dumps(UNIGRAM) + "\0 abc \u00e9x ab")
    text("tokenizer_json", "unigram-broken", {"model": {"type": "Unigram", "vocab": [["a", -1.5], ["b"], 1, ["c", 1e99, 0]]}})
    text("tokenizer_json", "letters", json.dumps(BYTES | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Punctuation", "behavior": "Contiguous"}, LEVEL, {"type": "Digits", "individual_digits": False}]}}) + "\0ab \u00bd1.")
    text("tokenizer_json", "broken", json.dumps(BYTES)[:-9])


if __name__ == "__main__":
    main()
