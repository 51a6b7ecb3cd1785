"""Compares a GGUF model as mxq turns it into a Hugging Face folder with the same file as transformers loads it.

    python gguf_peer.py MODEL.gguf MXQ        runs `MXQ dequantize MODEL.gguf -o DIR --dtype f32`

All weights must be equal to the bit, the forward pass on some tokens as well, and the configurations in every field
that decides what the model computes. Needs the packages torch, transformers and gguf. Exit 1 at the first difference.
"""

import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers

CONFIG_FIELDS = ["model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                 "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings", "rope_theta",
                 "rope_scaling", "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"]


def compare(model: pathlib.Path, folder: pathlib.Path) -> None:
    peer = transformers.AutoModelForCausalLM.from_pretrained(
        model.parent, gguf_file=model.name, torch_dtype=torch.float32)
    ours = transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
    for field in CONFIG_FIELDS:
        mine, theirs = getattr(ours.config, field, None), getattr(peer.config, field, None)
        # Some classes have no head_dim: it follows from the others there.
        assert mine == theirs or (field == "head_dim" and theirs is None), f"config.{field}: {mine}, transformers has {theirs}"
    # fp32 epsilon against its shortest decimal
    assert abs(ours.config.rms_norm_eps / peer.config.rms_norm_eps - 1) < 1e-6

    expected, found = peer.state_dict(), ours.state_dict()
    assert expected.keys() == found.keys(), expected.keys() ^ found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), f"{name} differs by {(tensor - found[name]).abs().max()}"
    print(f"{len(expected)} tensors equal to the bit")

    ids = torch.arange(1, 65).unsqueeze(0) % peer.config.vocab_size
    with torch.no_grad():
        difference = (peer(ids).logits - ours(ids).logits).abs().max().item()
    assert difference < 1e-3, difference
    print(f"logits of 64 tokens differ by at most {difference:.2g}")


def main() -> None:
    model, mxq = pathlib.Path(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "model"
        command = [mxq, "dequantize", str(model), "-o", str(folder), "--dtype", "f32"]
        subprocess.run(command, check=True)
        compare(model, folder)


if __name__ == "__main__":
    main()
