"""Folders for MLX, loaded by the real mlx-lm on the CPU: its logits are those of mxq.

    python mlx_peer.py MXQ [MODEL.gguf...]     in the environment of scripts/setup.sh --mlx

Small models with a seed of every architecture that the format has (tests/data/tiny_decoders.json, biases and tied
embeddings among them), each matrix in a scheme of its own; and MODEL, which also writes text. Logits are compared in
fp32: mlx-lm with its scales, biases and norms taken for fp32, mxq with the matrices that it reads from the same folder.
A folder that mlx_lm.convert wrote is read too. Fails where logits are apart by more than 2e-3 of the largest.
"""
import pathlib
import sys
import tempfile

import mlx.core as mx
import mlx_lm
import numpy
from tiny_decoders import IDS, TEXT, call, read_logits, write_tiny

BOUND = 2e-3
# Windows that mlx-lm's classes do not have are left out; two models need head sizes that groups of 32 divide.
PLAIN = {"sliding_window": None, "use_sliding_window": False, "layer_types": None}
MODELS = {"llama2": {}, "llama3": {}, "llama_linear": {}, "llama_yarn": {}, "llama_bias": {}, "mistral": PLAIN, "qwen2": {},
          "qwen3": {}, "gemma2": {"sliding_window": 100}, "gemma3": {}, "gemma3_usual": {}, "phi3": PLAIN, "smollm3": PLAIN,
          "smollm3_usual": PLAIN, "olmo2": {}, "granite": {}, "glm4": {}, "cohere2": {}, "cohere2_usual": {}}
SCHEMES = {"q_proj": "b8g32", "k_proj": "b3g32", "v_proj": "b2g32", "o_proj": "b6g32", "up_proj": "b4g32", "embed_tokens": "b8g32"}


def logits_of_mxq(mxq, folder, text):
    kept = folder.with_name(folder.name + ".logits")
    call(mxq, "-q", "eval", folder, "--against", folder, "--base-logits", kept, "--text", text)
    return read_logits(kept)


def logits_of_mlx(model, ids):
    model.set_dtype(mx.float32)
    return numpy.array(model(mx.array([ids]))[0].astype(mx.float32))


def check(name, found, wanted, wrong):
    wanted = wanted[: len(found)]
    apart = float(numpy.abs(found - wanted).max() / numpy.abs(wanted).max())
    good = found.shape == wanted.shape and apart < BOUND
    print(f"{'   ' if good else '!! '}{name}: logits of {len(found)} tokens apart by {apart:.1e} of the largest", flush=True)
    if not good:
        wrong.append(name)


def tiny_models(mxq, wrong):
    for number, name in enumerate(MODELS):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            tensors = write_tiny(folder / "model", name, MODELS[name])
            (folder / "text.txt").write_text(TEXT)
            pins = [f"--pin={part}={scheme}" for part, scheme in SCHEMES.items() if any(f".{part}." in t for t in tensors)]
            metadata = ("f16-bias", "bf16-bias")[number % 2]
            call(mxq, "quantize", folder / "model", "--format", "mlx", "--bits", 7, *pins, "--skip", "down_proj",
                 "--metadata", metadata, "--objective", "rel", "--fit", "mse", "-o", folder / "out", "-q")
            model, config = mlx_lm.utils.load_model(folder / "out")
            layer = model.model.layers[0].self_attn
            linear = layer.q_proj if hasattr(layer, "q_proj") else layer.qkv_proj
            assert linear.bits == 8 or not hasattr(layer, "q_proj"), linear
            assert linear.scales.dtype == {"f16-bias": mx.float16, "bf16-bias": mx.bfloat16}[metadata]
            check(f"{name} ({metadata})", logits_of_mxq(mxq, folder / "out", folder / "text.txt"), logits_of_mlx(model, IDS), wrong)


def real_model(mxq, source, wrong):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        call(mxq, "dequantize", source, "-o", folder / "model", "-q")
        call(mxq, "quantize", folder / "model", "--format", "mlx", "--bits", 6.5, "--objective", "rel", "--fit", "mse",
             "-o", folder / "out", "-q")
        call(sys.executable, "-m", "mlx_lm", "convert", "--hf-path", folder / "model", "-q", "--q-bits", 4, "--mlx-path",
             folder / "converted")
        text = "Gravity is the force by which a planet or other body draws objects toward its centre."
        (folder / "text.txt").write_text(text)
        for which in ("out", "converted"):
            model, tokenizer = mlx_lm.load(str(folder / which))
            ids = tokenizer.encode(text)
            if ids != [int(i) for i in call(mxq, "tokenize", folder / which, "--text", folder / "text.txt").split()]:
                wrong.append(f"ids of {source.name}, {which}: mlx-lm has {ids}")
            check(f"{source.name}, {'mxq' if which == 'out' else 'mlx_lm.convert'}'s folder",
                  logits_of_mxq(mxq, folder / which, folder / "text.txt"), logits_of_mlx(model, ids), wrong)
            if which == "out":
                answer = mlx_lm.generate(model, tokenizer, prompt=tokenizer.encode("The capital of France is"), max_tokens=6)
                print(f"   writes: The capital of France is{answer!r}")
                if "Instruct" in source.name and "Paris" not in answer:
                    wrong.append(f"text of {source.name}: {answer!r}")


def main():
    wrong = []
    mx.set_default_device(mx.cpu)
    tiny_models(sys.argv[1], wrong)
    for source in sys.argv[2:]:
        real_model(sys.argv[1], pathlib.Path(source), wrong)
    if wrong:
        sys.exit("\n".join(["wrong:", *wrong]))


if __name__ == "__main__":
    main()
