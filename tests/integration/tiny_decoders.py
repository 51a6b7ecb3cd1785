"""What the peers of folder formats share: a program that has to succeed, and the small models of tests/data/tiny_decoders.json as
Hugging Face folders."""
import json
import pathlib
import struct
import subprocess

import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"  # a token each, of a vocabulary of 64
TEXT = "Twelve9boats+left/at0dawn1nine2came3back"
# Of every architecture that transformers and vLLM load with its linear layers quantized.
DECODERS = ("llama2", "llama3", "llama_bias", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "olmo2", "granite", "glm4", "cohere2")
IDS = [LETTERS.index(letter) for letter in TEXT]


def call(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr}"
    return done.stdout


def formula(name, count):
    """value() of make_tiny_decoders.py."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(seed) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z ^= z >> numpy.uint64(31)
    uniform = ((z >> numpy.uint64(48)).astype(numpy.float32) - 32768) / 32768
    return 1 + uniform / 4 if name.endswith("norm.weight") else uniform / 2


def write_tiny(folder, name, fields=None):
    """With a tokenizer of LETTERS. `fields` replace those that the configuration has. Returns the shapes by name."""
    model = json.loads((ROOT / "tests/data/tiny_decoders.json").read_text())["models"][name]
    folder.mkdir()
    config = {**model["config"], **{key: value for key, value in (fields or {}).items() if key in model["config"]}}
    (folder / "config.json").write_text(json.dumps(config))
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for tensor, shape in model["tensors"].items():
        values = formula(tensor, int(numpy.prod(shape))).astype("<f4").tobytes()
        header[tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    (folder / "tokenizer.json").write_text(json.dumps({
        "pre_tokenizer": level, "decoder": level,
        "model": {"type": "BPE", "vocab": {letter: i for i, letter in enumerate(LETTERS)}, "merges": []}}))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return model["tensors"]


def read_logits(path):
    """Of `mxq eval --base-logits`: a row for each token of the text that is followed by another."""
    raw = path.read_bytes()
    rows, vocab = struct.unpack_from("<qq", raw, 40)
    return numpy.frombuffer(raw, "<f4", offset=64).reshape(rows, vocab)
