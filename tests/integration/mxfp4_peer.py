"""gpt-oss whose experts are in MXFP4, as published: `mxq dequantize` writes the weights that transformers makes of them,
bit for bit, also of a checkpoint that keeps them, and `mxq eval` has the logits of those.

    python mxfp4_peer.py MXQ

A tiny model with a seed; the codes are random bytes.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers
from safetensors.torch import load_file, save_file

from config_fields_peer import BASE, TEXT, ours, reference, write_tokenizer

BOUND = 1e-4
EXPERTS, HIDDEN, INNER = 4, 64, 96


def write_model(folder):
    ids = write_tokenizer(folder)
    (folder / "text.txt").write_text(TEXT)
    config = {**BASE, "model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], "hidden_size": HIDDEN,
              "intermediate_size": INNER, "head_dim": 16, "num_local_experts": EXPERTS, "num_experts_per_tok": 2,
              "sliding_window": 7}
    (folder / "config.json").write_text(json.dumps(config))
    reference(folder, ids)
    state = load_file(folder / "model.safetensors")
    for name in [n for n in state if n.endswith("experts.gate_up_proj") or n.endswith("experts.down_proj")]:
        columns, rows = state.pop(name).shape[1:]
        state[name + "_blocks"] = torch.randint(0, 256, (EXPERTS, rows, columns // 32, 16), dtype=torch.uint8)
        state[name + "_scales"] = torch.randint(119, 126, (EXPERTS, rows, columns // 32), dtype=torch.uint8)
    state = {name: values if values.dtype == torch.uint8 else values.bfloat16() for name, values in state.items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}
    (folder / "config.json").write_text(json.dumps(config))
    return ids


def main():
    mxq = sys.argv[1]
    with tempfile.TemporaryDirectory() as temporary:
        model, back = pathlib.Path(temporary) / "model", pathlib.Path(temporary) / "back"
        model.mkdir()
        ids = write_model(model)
        wanted = transformers.AutoModelForCausalLM.from_pretrained(model, attn_implementation="eager",
                                                                   dtype=torch.bfloat16).eval()
        expected = wanted.state_dict()
        kept = pathlib.Path(temporary) / "kept"
        subprocess.run([mxq, "-q", "quantize", model, "-o", kept, "--bits", "8", "--skip", "experts",
                        "--objective", "rel", "--fit", "mse"], check=True)
        for source in (model, kept):
            subprocess.run([mxq, "-q", "dequantize", source, "-o", back, "--overwrite"], check=True)
            written = load_file(back / "model.safetensors")
            assert written.keys() == expected.keys(), written.keys() ^ expected.keys()
            for name, values in expected.items():
                assert written[name].dtype == torch.bfloat16, name
                quantized = source == kept and "self_attn" in name and name.endswith("weight")
                assert quantized or torch.equal(written[name], values.bfloat16()), name
            assert "quantization_config" not in json.loads((back / "config.json").read_text())
        found, message = ours(mxq, model)
        assert found is not None, message
        with torch.no_grad():
            logits = wanted.float()(torch.tensor([ids]), use_cache=False).logits[0].double().numpy()[: len(found)]
        distance = float(numpy.abs(found - logits).max() / numpy.abs(logits).max())
        print(f"{len(expected)} tensors equal; logits {distance:.1e} apart")
        if not distance < BOUND:
            sys.exit(f"logits are more than {BOUND} apart")


if __name__ == "__main__":
    main()
