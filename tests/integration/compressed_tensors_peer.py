"""Folders for compressed-tensors, loaded by the real package in transformers on the CPU: its logits are those of mxq's weights.

    python compressed_tensors_peer.py MXQ [MODEL.gguf...]     in the environment of scripts/setup.sh --compressed-tensors

Small models with a seed of every architecture that the format has (tests/data/tiny_decoders.json, biases and tied embeddings among them),
each role in a scheme of its own; and MODEL, which also writes text. transformers loads the folder and, from `mxq dequantize`, the plain
model of the same weights: both compute in fp32, with weights that the package decompresses to 16 bits and that mxq writes in the same 16
bits. Weights must be equal, logits within 1e-5 of the largest. Folders that the package has rounded to nearest (symmetric and not, in groups
and by rows) are read too: mxq's weights, in the scales' 16 bits, are the package's, bit for bit.
"""
import json
import pathlib
import sys
import tempfile

import torch
import transformers
from compressed_tensors.compressors import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationScheme
from safetensors.torch import load_file, save_file
from tiny_decoders import DECODERS, call, write_tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import compressed_tensors_peer as package  # noqa: E402

BOUND = 1e-5
PINS = {"q_proj": "b3g32", "k_proj": "b3g32", "v_proj": "b3g32", "qkv_proj": "b3g32", "o_proj": "b6g32", "gate_proj": "b2g32", "up_proj": "b2g32",
        "gate_up_proj": "b5g32"}


def load(folder):
    """In fp32, with the weights that the folder's own dtype has."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    packed = [name for name, _ in model.named_parameters() if name.endswith("weight_packed")]
    with torch.no_grad():
        model(torch.tensor([[1, 2]]))  # the package decompresses what it runs first
    return torch.nn.Module.float(model), len(packed)


def compare(label, folder, ids, wrong):
    """The folder beside what mxq makes of it."""
    plain = folder.with_name(folder.name + ".plain")
    dtype = {"float16": "f16", "bfloat16": "bf16"}[json.loads((folder / "config.json").read_text())["torch_dtype"]]
    call(MXQ, "dequantize", folder, "-o", plain, "--dtype", dtype, "-q")
    theirs, packed = load(folder)
    ours, _ = load(plain)
    if packed == 0: wrong.append(f"{label}: nothing was loaded packed")
    weights, found = dict(ours.named_parameters()), dict(theirs.named_parameters())
    for name, weight in weights.items():
        if name not in found or not torch.equal(found[name], weight): wrong.append(f"{label}: {name} differs")
    with torch.no_grad():
        wanted, logits = ours(torch.tensor([ids])).logits, theirs(torch.tensor([ids])).logits
    apart = float((logits - wanted).abs().max() / wanted.abs().max())
    good = apart < BOUND
    print(f"{'   ' if good else '!! '}{label}: {packed} packed matrices; logits of {len(ids)} tokens apart by {apart:.1e} of the largest", flush=True)
    if not good: wrong.append(label)
    return theirs


def tiny_models(wrong):
    for number, name in enumerate(DECODERS):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            tensors = write_tiny(folder / "model", name)
            pins = [f"--pin=\\.{part}$={scheme}" for part, scheme in PINS.items() if any(f".{part}." in t for t in tensors)]
            metadata = ("f16-bias", "bf16-bias")[number % 2]
            call(MXQ, "quantize", folder / "model", "--format", "compressed-tensors", "--bits", 7, *pins, "--skip", "down_proj",
                 "--metadata", metadata, "--objective", "rel", "--fit", "mse", "-o", folder / "out", "-q")
            compare(f"{name} ({metadata})", folder / "out", list(range(3, 43)), wrong)


def real_model(source, wrong):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        call(MXQ, "quantize", source, "--format", "compressed-tensors", "--bits", 5.5, "--objective", "rel", "--fit", "mse", "-o", folder / "out", "-q")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "out")
        ids = tokenizer("Gravity is the force by which a planet or other body draws objects toward its centre.").input_ids
        model = compare(source.name, folder / "out", ids, wrong)
        asked = tokenizer("The capital of France is", return_tensors="pt")
        answer = tokenizer.decode(model.generate(**asked, max_new_tokens=8, do_sample=False)[0][asked.input_ids.shape[1]:])
        print(f"   writes: The capital of France is{answer!r}")
        if "Paris" not in answer: wrong.append(f"text of {source.name}: {answer!r}")


def packages_folders(wrong):
    for bits, group, symmetric, dtype in ((3, 64, True, torch.float16), (4, 64, False, torch.float16), (5, 192, False, torch.bfloat16),
                                          (2, 32, True, torch.bfloat16), (4, 0, True, torch.bfloat16), (8, 0, False, torch.float16), (6, 128, True, torch.float32)):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            write_tiny(folder / "model", "llama2")
            (folder / "model/model.safetensors").unlink()
            torch.manual_seed(bits)
            weight = (torch.randn(200, 384) * 0.05 + 0.01).to(dtype)
            name = "model.layers.0.self_attn.q_proj"
            save_file({f"{name}.weight": weight}, folder / "model/model.safetensors", {"format": "pt"})
            args = package.arguments(bits, group, symmetric)
            package.write(folder / "model", folder / "out", args)
            stored = {key.removeprefix(name + "."): value for key, value in load_file(folder / "out/model.safetensors").items()}
            wanted = PackedQuantizationCompressor.decompress(stored, QuantizationScheme(targets=["Linear"], weights=args))["weight"]
            call(MXQ, "dequantize", folder / "out", "-o", folder / "plain", "--dtype", {torch.float16: "f16", torch.bfloat16: "bf16", torch.float32: "f32"}[dtype], "-q")
            found = load_file(folder / "plain/model.safetensors")[f"{name}.weight"]
            label = f"the package's {bits} bits, {f'groups of {group}' if group else 'rows'}, {'symmetric' if symmetric else 'with zeros'}, {dtype}"
            good = found.dtype == wanted.dtype and torch.equal(found, wanted)
            print(f"{'   ' if good else '!! '}{label}", flush=True)
            if not good: wrong.append(label)


def main():
    wrong = []
    transformers.utils.logging.disable_progress_bar()
    packages_folders(wrong)
    tiny_models(wrong)
    for source in sys.argv[2:]:
        real_model(pathlib.Path(source), wrong)
    if wrong:
        sys.exit("\n".join(["wrong:", *wrong]))


MXQ = sys.argv[1]
if __name__ == "__main__":
    main()
