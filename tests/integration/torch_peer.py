"""Files of torch.save as mxq reads them: equal to torch's own values to the last bit; what torch refuses is refused.

    python torch_peer.py MXQ

Models are random, with a seed. Nothing is downloaded.
"""

import collections
import json
import pathlib
import pickle
import shutil
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers
from safetensors.torch import load_file, save_file

from config_fields_peer import BASE, KINDS, base_of, random_model, write_tokenizer

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
OTHERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.uint16, torch.uint32,
          torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu)
mxq = sys.argv[1]
wrong = []


def run(*arguments):
    return subprocess.run([mxq, *map(str, arguments), "--quiet"], capture_output=True, text=True)


def check(good, what):
    print(f"{'   ' if good else '!! '}{what}", flush=True)
    if not good:
        wrong.append(what)


def same(a, b):
    """To the last bit, of any dtype."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    a, b = (t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(a, b)


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def copied(path, folder):
    """What mxq makes of a file: dequantize copies what is not quantized."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    done = run("dequantize", path, "-o", out)
    return load_file(out / "model.safetensors") if done.returncode == 0 else done.stderr


def check_copy(what, value, tensors, folder, **options):
    path = folder / "model.pth"
    torch.save(value, path, **options)
    got = copied(path, folder)
    if isinstance(got, str):
        return check(False, f"{what}: {got}")
    apart = [name for name in tensors if name not in got or not same(got[name], tensors[name])]
    check(not apart and len(got) == len(tensors), f"{what}: {len(tensors)} tensors, {len(apart)} apart {apart[:3]}")


def random_tensor(shape, dtype):
    raw = torch.randint(0, 256, (*shape, torch.empty(0, dtype=dtype).element_size()), dtype=torch.uint8)
    if dtype == torch.bool:
        return raw[..., 0] > 127
    values = raw.view(dtype)[..., 0].clone()
    # Any finite bits: NaN and infinity are no weights.
    return torch.nan_to_num(values, 0, 0, 0) if dtype in FLOATS else values


def check_tensors(folder):
    torch.manual_seed(1)
    plain = {f"t.{str(d).split('.')[-1]}": random_tensor((5, 7), d) for d in FLOATS + OTHERS}
    views = {}
    for dtype in FLOATS + OTHERS:
        base, name = random_tensor((11, 6, 4), dtype), str(dtype).split(".")[-1]
        views |= {f"{name}.transposed": base[:, :, 0].t(), f"{name}.permuted": base.permute(2, 0, 1), f"{name}.rows": base[2:9],
                  f"{name}.step": base[::3, 1::2], f"{name}.column": base[:, 1, 1], f"{name}.scalar": base[3, 2, 1],
                  f"{name}.diagonal": torch.diagonal(base[:, :, 0]), f"{name}.empty": base[:0].transpose(1, 2),
                  f"{name}.whole": base}
    large = random_tensor((700, 900), torch.bfloat16)
    views |= {"large.transposed": large.t(), "large.sliced": large[3:, 5:777], "large.channels_last":
              random_tensor((4, 8, 5, 6), torch.float32).to(memory_format=torch.channels_last)}
    check_copy("every dtype", plain, plain, folder)
    check_copy("every dtype, an OrderedDict", collections.OrderedDict(plain), plain, folder)
    check_copy("views in any order", views, views, folder)
    for protocol in (2, 3, 4, 5):
        check_copy(f"pickle protocol {protocol}", views, views, folder, pickle_protocol=protocol)
    parameters = {n: torch.nn.Parameter(t, requires_grad=t.is_floating_point()) for n, t in plain.items()}
    for parameter in list(parameters.values())[::2]:
        parameter.note = "an attribute"
    check_copy("Parameters", parameters, plain, folder)
    tied = {"a": large, "b": large, "c": large[10:], "d": large.view(-1)[: 500 * 700].view(500, 700)}
    check_copy("tensors that share storage", tied, tied, folder)
    module = torch.nn.Sequential(torch.nn.Linear(9, 8), torch.nn.BatchNorm1d(8), torch.nn.LSTM(8, 4))
    state = module.state_dict()
    check_copy("a module's state dict", state, state, folder)
    check_copy("a compiled module's", torch.compile(module).state_dict(), state, folder)
    check_copy("a wrapped module's", torch.nn.DataParallel(module).state_dict(), state, folder)
    optimizer = torch.optim.AdamW(module.parameters())
    run_state = {"model": state, "epoch": 3, "loss": 0.25, "size": torch.Size([3]), "dtype": torch.float16, "device": torch.device("cpu"),
                 "seen": {1, 2}, "optimizer": optimizer.state_dict(), "bytes": b"ab", "none": None, "big": 2**70, "text": "ä"}
    check_copy("a training run's checkpoint", run_state, state, folder)
    values = torch.zeros(3, 4).expand(5, 3, 4)
    torch.save({"w": values, **plain}, folder / "model.pth")
    check("an expanded view" in run("inspect", folder / "model.pth").stderr, "expanded views are refused by name")
    torch.save({"w": torch.ones(3, dtype=torch.complex64).conj()}, folder / "model.pth")
    check("lazy negative or conjugate" in run("inspect", folder / "model.pth").stderr, "conjugates are refused by name")


def check_models(folder):
    for kind in ("llama", "qwen2", "gemma3_text", "mixtral", "phi3"):
        if kind not in KINDS:
            continue
        for dtype in (torch.bfloat16, torch.float32):
            model = random_model(transformers.AutoConfig.for_model(kind, **{"sliding_window": None, **BASE, **base_of(kind)})).to(dtype)
            for shards in ("5GB", "100KB"):
                saved = {}
                for safe in (True, False):
                    place = folder / ("safetensors" if safe else "torch")
                    shutil.rmtree(place, ignore_errors=True)
                    model.save_pretrained(place, safe_serialization=safe, max_shard_size=shards)
                    write_tokenizer(place)
                    out = folder / "quantized"
                    shutil.rmtree(out, ignore_errors=True)
                    done = run("quantize", place, "--bits", "4.3", "--objective", "rel", "--fit", "mse", "-o", out)
                    saved[safe] = files(out) if done.returncode == 0 else done.stderr
                good = saved[True] == saved[False] and isinstance(saved[True], dict)
                how = "" if good else f": {saved[False] if isinstance(saved[False], str) else 'bytes differ'}"
                check(good, f"{kind} {dtype} in shards of {shards}, quantized: the bytes that safetensors give{how}")


def check_meta(folder):
    """Meta's layout, made by the inverse of transformers' conversion."""
    torch.manual_seed(2)
    for tied in (False, True):
        config = transformers.LlamaConfig(hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
                                          num_key_value_heads=2, vocab_size=96, tie_word_embeddings=tied, rope_theta=5e5)
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
        state = model.state_dict()
        names = {"model.embed_tokens": "tok_embeddings", "model.norm": "norm", "lm_head": "output", "self_attn.q_proj": "attention.wq",
                 "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv", "self_attn.o_proj": "attention.wo",
                 "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3",
                 "post_attention_layernorm": "ffn_norm", "input_layernorm": "attention_norm", "model.layers": "layers"}
        meta = {}
        for name, tensor in state.items():
            if "q_proj" in name or "k_proj" in name:
                # permute() of convert_llama_weights_to_hf.py, backwards
                heads = tensor.shape[0] // 16
                tensor = tensor.view(heads, 2, 8, 64).transpose(1, 2).reshape(tensor.shape)
            for hf, other in names.items():
                name = name.replace(hf, other)
            meta[name] = tensor
        if tied:
            meta["output.weight"] = meta["tok_embeddings.weight"]
        place = folder / "meta"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        torch.save(meta, place / "consolidated.00.pth")
        (place / "params.json").write_text(json.dumps({"dim": 64, "multiple_of": 32, "n_heads": 4, "n_kv_heads": 2, "n_layers": 2,
                                                       "norm_eps": 1e-6, "vocab_size": 96, "rope_theta": 5e5}))
        out = folder / "hf"
        shutil.rmtree(out, ignore_errors=True)
        done = run("dequantize", place, "-o", out)
        if done.returncode:
            check(False, done.stderr)
            continue
        model.save_pretrained(folder / "reference")
        loaded, reference = (transformers.AutoModelForCausalLM.from_pretrained(p, dtype=torch.bfloat16) for p in (out, folder / "reference"))
        ids = torch.arange(90)[None]
        with torch.no_grad():
            equal = torch.equal(loaded(ids).logits, reference(ids).logits)
        check(equal and loaded.config.tie_word_embeddings == tied, f"Meta's Llama{', tied' if tied else ''}: logits are the model's")


class Malicious:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def check_refusals(folder):
    import os
    path, touched = folder / "bad.pth", folder / "touched"
    weights = {"w": torch.ones(3)}
    for what, value in (
        ("os.system", {**weights, "x": Malicious(os.system, f"touch {touched}")}),
        ("eval", {**weights, "x": Malicious(eval, f"open({str(touched)!r}, 'w')")}),
        ("a module", torch.nn.Linear(2, 2)),
        ("a numpy array", {"w": numpy.ones(3)}),
        ("a class", {**weights, "args": transformers.LlamaConfig()}),
    ):
        torch.save(value, path)
        done = run("inspect", path)
        check(done.returncode == 1 and "which is not run" in done.stderr and not touched.exists(), f"{what}: {done.stderr.strip()[-160:]}")
        try:
            torch.load(path, weights_only=True)
            check(False, f"{what}: torch loads it")
        except pickle.UnpicklingError:
            pass
    for what, save in (("the format before 1.6", lambda: torch.save(weights, path, _use_new_zipfile_serialization=False)),
                       ("TorchScript", lambda: torch.jit.script(torch.nn.Linear(2, 2)).save(path)),
                       ("a sparse tensor", lambda: torch.save({"w": torch.ones(3, 3).to_sparse()}, path)),
                       ("a quantized tensor", lambda: torch.save({"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, path)),
                       ("a meta tensor", lambda: torch.save({"w": torch.ones(3, device="meta")}, path))):
        save()
        done = run("inspect", path)
        check(done.returncode == 1 and len(done.stderr.splitlines()) == 1, f"{what}: {done.stderr.strip()[-160:]}")


def check_order(folder):
    """The order in which safetensors writes tensors is the one that mxq gives those of torch."""
    torch.manual_seed(3)
    tensors = {f"{'zyxwvutsrqponm'[i % 14]}.{i}": random_tensor((2, 3), d) for i, d in enumerate((*FLOATS, *OTHERS, *FLOATS))}
    save_file(tensors, folder / "order.safetensors")
    torch.save(tensors, folder / "order.pth")
    for kind in ("safetensors", "pth"):
        run("dequantize", folder / f"order.{kind}", "-o", folder / f"order-{kind}")
    a, b = ((folder / f"order-{kind}" / "model.safetensors").read_bytes() for kind in ("safetensors", "pth"))
    check(a == b, "tensors of every dtype, in the order of safetensors")


def main():
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for part in (check_tensors, check_order, check_models, check_meta, check_refusals):
            part(folder)
    if wrong:
        sys.exit("\n".join(["wrong:", *wrong]))


if __name__ == "__main__":
    main()
