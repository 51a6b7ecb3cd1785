#!/usr/bin/env python3
"""Writes the seed corpus corpus/onnx beside this file: graphs of mxq, whole, cut and changed; and bytes that are no message.

    python make_onnx_corpus.py MXQ

Deterministic: a file's name says what it is, and running this again with the same mxq changes nothing.
"""
import json
import math
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

FUZZ = pathlib.Path(__file__).resolve().parent
CONFIG = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
          "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 24, "max_position_embeddings": 64, "rms_norm_eps": 1e-05,
          "rope_theta": 10000.0, "tie_word_embeddings": True, "torch_dtype": "float16"}  # as onnx_fuzz.cc has it
LAYER = {"self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32), "self_attn.o_proj": (32, 32),
         "mlp.gate_proj": (48, 32), "mlp.up_proj": (48, 32), "mlp.down_proj": (32, 48), "input_layernorm": (32,),
         "post_attention_layernorm": (32,)}


def write_model(folder):
    rng = random.Random(1)
    shapes = {"model.embed_tokens.weight": (24, 32), "model.norm.weight": (32,)}
    shapes |= {f"model.layers.0.{name}.weight": shape for name, shape in LAYER.items()}
    header, data = {}, b""
    for name, shape in shapes.items():
        values = struct.pack(f"<{math.prod(shape)}f", *(rng.gauss(0, 0.05) for _ in range(math.prod(shape))))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "config.json").write_text(json.dumps(CONFIG))


def put(name, data):
    folder = FUZZ / "corpus/onnx"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def main():
    with tempfile.TemporaryDirectory() as temporary:
        model = pathlib.Path(temporary) / "model"
        write_model(model)
        for name, options in {"b4g16": ("--uniform", "b4g16"), "b2g32-plain-down": ("--uniform", "b2g32", "--skip", "down_proj"),
                              "plain-embedding": ("--uniform", "b8g16", "--no-embeddings")}.items():
            out = pathlib.Path(temporary) / name
            subprocess.run([sys.argv[1], "quantize", model, "--format", "onnx", "--fit", "mse", *options, "-o", out, "-q"], check=True,
                           stdout=subprocess.DEVNULL)
            whole = (out / "model.onnx").read_bytes()
            put(f"whole-{name}", whole)
    put("cut", whole[:-9])
    put("other-producer", whole.replace(b"\x12\x03mxq", b"\x12\x03abc"))
    put("other-version", whole.replace(b"\x12\x011", b"\x12\x012"))
    put("other-operator", whole.replace(b"SimplifiedLayerNormalization", b"SimplifiedLayerNormalisation"))
    put("other-place", whole.replace(b"model.onnx.data", b"../el.onnx.data"))
    put("empty", b"")
    put("group", b"\x0b")
    put("endless-number", b"\x08" + b"\xff" * 11)
    put("long-text", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
    put("wide-shape", b"\x3a\x2e\x2a\x2c" + b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * 4 + b"\x10\x01\x42\x00")


if __name__ == "__main__":
    main()
