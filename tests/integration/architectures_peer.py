"""Every architecture that mxq runs, quantized and brought back: transformers' logits of what `mxq dequantize` writes are
those that mxq has of the checkpoint.

    python architectures_peer.py MXQ [ARCHITECTURE...]

Models of three layers with a seed (config_fields_peer.py). The default method, AWQ with a plan, and AWQ as published,
whose scales are folded into norms and rows. Fails where logits are apart by more than 1e-4 of the largest.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers

from config_fields_peer import BASE, KINDS, TEXT, base_of, ours, reference, write_tokenizer

LARGER = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16}
METHODS = {"default": ["--bits", "4.5"], "awq": ["--bits", "5", "--fit", "awq"],
           "autoawq": ["--uniform", "b4g32", "--fit", "awq", "--normalize", "none"]}
BOUND = 1e-4


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}\n{done.stderr}")


def apart(mxq, model, method, ids, folder):
    """How far apart the logits are, by the largest."""
    out, back = folder / "out", folder / "back"
    for old in (out, back):
        shutil.rmtree(old, ignore_errors=True)
    run(mxq, "-q", "quantize", model, "-o", out, *method)
    run(mxq, "-q", "dequantize", out, "-o", back)
    shutil.copy(model / "text.txt", out)
    got, message = ours(mxq, out)
    if got is None:
        sys.exit(message)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(back, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        wanted = loaded.eval()(torch.tensor([ids]), use_cache=False).logits[0].double().numpy()[: len(got)]
    return float(numpy.abs(got - wanted).max() / numpy.abs(wanted).max())


def main():
    mxq, wrong = sys.argv[1], []
    for kind in sys.argv[2:] or list(KINDS):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            model = folder / "model"
            model.mkdir()
            ids = write_tokenizer(model)
            (model / "text.txt").write_text(TEXT)
            config = {"model_type": kind, "sliding_window": None, **BASE, **base_of(kind), **LARGER}
            (model / "config.json").write_text(json.dumps(config))
            reference(model, ids)
            for name, method in METHODS.items():
                distance = apart(mxq, model, method, ids, folder)
                print(f"{kind} {name}: {distance:.1e}", flush=True)
                if not distance < BOUND:
                    wrong.append(f"{kind} {name}: {distance:.1e}")
    if wrong:
        sys.exit("\n".join(["wrong:", *wrong]))


if __name__ == "__main__":
    main()
