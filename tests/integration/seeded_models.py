"""The small models of tests/data/tiny_decoders.json as folders of safetensors: what peers of several formats load."""
import json
import pathlib

import numpy
import torch
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Of every architecture that transformers and vLLM load with its linear layers quantized.
DECODERS = ("llama2", "llama3", "llama_bias", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "olmo2", "granite", "glm4", "cohere2")


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


def write(folder, name):
    """The shapes of its tensors."""
    model = json.loads((ROOT / "tests/data/tiny_decoders.json").read_text())["models"][name]
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(model["config"]))
    tensors = {}
    for tensor, shape in model["tensors"].items():
        tensors[tensor] = torch.from_numpy(formula(tensor, int(torch.tensor(shape).prod()))).reshape(shape)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return model["tensors"]
