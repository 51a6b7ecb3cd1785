"""Folders of GPTQ and AWQ, loaded by GPTQModel and transformers on the CPU: their logits are those of mxq's weights.

    python gptq_folders_peer.py MXQ [MODEL.gguf...]     in the environment of scripts/setup.sh --gptqmodel

Small models with a seed of every architecture that the formats have (tests/data/tiny_decoders.json, biases and tied embeddings among them),
each role in a scheme of its own; and MODEL, which also writes text. GPTQModel loads the folder, and transformers the plain model that
`mxq dequantize` makes of it. Weights that the package unpacks must be mxq's, bit for bit, and logits, both computed in fp32, within 1e-5 of
the largest. Folders that the package itself has packed (symmetric and not, columns in order and not, of both versions) are read too: mxq's
weights are the package's, bit for bit.
"""
import functools
import json
import os
import pathlib
import random
import sys
import tempfile

os.environ.update(TORCHDYNAMO_DISABLE="1", HF_HUB_OFFLINE="1")
import tokenizers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from gptqmodel import BACKEND, GPTQModel  # noqa: E402
from gptqmodel.nn_modules.qlinear.torch import TorchLinear  # noqa: E402
from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear  # noqa: E402
from gptqmodel.quantization import FORMAT  # noqa: E402
from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm, pack_awq  # noqa: E402
from gptqmodel.quantization.config import QuantizeConfig  # noqa: E402
from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from tiny_decoders import DECODERS, call, write_tiny  # noqa: E402

BOUND = 1e-5
FUSED = ("phi3", "glm4")  # gate_up_proj, which GPTQModel splits into two modules
GPTQ_PINS = {"q_proj": "b8g32", "k_proj": "b8g32", "v_proj": "b8g32", "qkv_proj": "b8g32", "o_proj": "b3g32", "gate_proj": "b2g32",
             "up_proj": "b2g32", "gate_up_proj": "b4g32"}


def load(folder, config):
    """By GPTQModel; by transformers what GPTQModel takes apart before it loads it."""
    dtype = getattr(torch, config["torch_dtype"])
    gptq = config["quantization_config"]["quant_method"] == "gptq"
    if config["model_type"] not in FUSED:
        return GPTQModel.load(str(folder), backend=BACKEND.GPTQ_TORCH if gptq else BACKEND.AWQ_TORCH, device="cpu", dtype=dtype).model
    kernel = transformers.GPTQConfig(bits=4, backend="gptq_torch") if gptq else transformers.AwqConfig(backend="torch_awq")
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map="cpu", quantization_config=kernel)


def unpacked(module):
    """W of one of the package's modules, in fp32."""
    if isinstance(module, AwqTorchLinear):
        return dequantize_gemm(module.qweight, module.qzeros, module.scales.float(), module.bits, module.group_size).T
    return TorchLinear.dequantize_weight(module).T


def compare(label, folder, ids, wrong):
    """The folder in the package beside what mxq makes of it in transformers."""
    plain = folder.with_name(folder.name + ".plain")
    call(MXQ, "dequantize", folder, "-o", plain, "--dtype", "f32", "-q")
    config = json.loads((folder / "config.json").read_text())
    theirs = torch.nn.Module.float(load(folder, config))
    ours = transformers.AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32)
    weights, packed = dict(ours.named_modules()), 0
    for name, module in theirs.named_modules():
        if not hasattr(module, "qweight"): continue
        packed += 1
        if not torch.equal(unpacked(module), weights[name].weight): wrong.append(f"{label}: {name}")
        # The package's reference of AWQ multiplies in 16 bits whatever the dtype: in fp32, with the weights that it unpacks.
        if isinstance(module, AwqTorchLinear): module.forward = functools.partial(torch.nn.functional.linear, weight=unpacked(module), bias=module.bias)
    for theirs_part, our_part in zip(theirs.modules(), ours.modules()):
        # Gemma's factor, which was rounded to the dtype that the model was loaded in.
        if hasattr(our_part, "embed_scale"): theirs_part.embed_scale = our_part.embed_scale
    with torch.no_grad():
        found, wanted = (model(torch.tensor([ids])).logits for model in (theirs, ours))
    for module in theirs.modules(): vars(module).pop("forward", None)
    apart = float((found - wanted).abs().max() / wanted.abs().max())
    good = apart < BOUND and packed == len(json.loads((folder / "mxq-plan.json").read_text())["matrices"])
    print(f"{'   ' if good else '!! '}{label}: {packed} packed matrices; logits of {len(ids)} tokens apart by {apart:.1e} of the largest", flush=True)
    if not good: wrong.append(label)
    return theirs


def write_tokenizer(folder):
    """Without one the package loads nothing."""
    words = {"<unk>": 0, "<s>": 1, "</s>": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>").save_pretrained(folder)


def tiny_models(wrong):
    for number, name in enumerate(DECODERS):
        for format in ("gptq", "awq"):
            with tempfile.TemporaryDirectory() as temporary:
                folder = pathlib.Path(temporary)
                tensors = write_tiny(folder / "model", name)
                write_tokenizer(folder / "model")
                zeros = ("symmetric", "integer")[number % 2 if format == "gptq" else 1]
                one_scheme = any("gate_up_proj" in t for t in tensors)  # transformers reads no rules
                pins = [] if one_scheme else [f"--pin=\\.{part}$={scheme}" for part, scheme in GPTQ_PINS.items() if any(f".{part}." in t for t in tensors)]
                schemes = [*pins, "--schemes", "b2g32,b3g32,b4g32,b8g32"] if format == "gptq" and not one_scheme else ["--schemes", "b4g32"]
                metadata = ("f16-bias", "bf16-bias")[number // 2 % 2]
                call(MXQ, "quantize", folder / "model", "--format", format, "--bits", 9, *schemes, "--skip", "down_proj", "--metadata", metadata,
                     "--objective", "rel", "--fit", "mse", "--zero-point", zeros, "-o", folder / "out", "-q")
                compare(f"{format} of {name} ({metadata}, {zeros} zeros)", folder / "out", list(range(3, 43)), wrong)


def text_of(model, folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    asked = tokenizer("The capital of France is", return_tensors="pt")
    return tokenizer.decode(model.generate(**asked, max_new_tokens=8, do_sample=False)[0][asked.input_ids.shape[1]:])


def real_model(source, wrong):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name, options in {"gptq": ("--format", "gptq", "--bits", 5.5, "--objective", "rel"),
                              "gptq-integer": ("--format", "gptq", "--bits", 5.5, "--objective", "rel", "--zero-point", "integer"),
                              "gptq-uniform": ("--format", "gptq", "--uniform", "b8g32", "--skip", "\\.0\\."),
                              "awq": ("--format", "awq", "--uniform", "b4g32", "--skip", "\\.0\\.")}.items():
            out = folder / name
            call(MXQ, "quantize", source, *options, "--fit", "mse", "-o", out, "-q")
            tokenizer = transformers.AutoTokenizer.from_pretrained(out)
            ids = tokenizer("Gravity is the force by which a planet or other body draws objects toward its centre.").input_ids
            wanted = call(MXQ, "generate", out, "--prompt", "The capital of France is", "--tokens", 8, "--quiet").strip()
            answers = [text_of(compare(f"{source.name}, {name}", out, ids, wrong), out)]
            if name in ("gptq-uniform", "awq"):  # which transformers loads by itself; it computes in the folder's 16 bits
                answers.append(text_of(transformers.AutoModelForCausalLM.from_pretrained(out, dtype="auto", device_map="cpu"), out))
            print(f"   writes: The capital of France is{answers!r}, mxq{wanted!r}")
            if answers[0].strip() != wanted: wrong.append(f"text of {source.name}, {name}: {answers[0]!r}, not {wanted!r}")
            if "Paris" in wanted and any("Paris" not in answer for answer in answers): wrong.append(f"text of {source.name}, {name}: {answers}")


def package_says(folder, label, tensors, config, wanted, wrong):
    """A folder of one module with these tensors: mxq reads `wanted`."""
    name = "model.layers.0.self_attn.q_proj"
    write_tiny(folder / "model", "llama2")
    (folder / "model/model.safetensors").unlink()
    said = json.loads((folder / "model/config.json").read_text())
    (folder / "model/config.json").write_text(json.dumps(said | {"quantization_config": config}))
    save_file({f"{name}.{part}": value.contiguous() for part, value in tensors.items()}, folder / "model/model.safetensors", {"format": "pt"})
    call(MXQ, "dequantize", folder / "model", "-o", folder / "plain", "--dtype", "f32", "-q")
    good = torch.equal(load_file(folder / "plain/model.safetensors")[f"{name}.weight"], wanted)
    print(f"{'   ' if good else '!! '}{label}", flush=True)
    if not good: wrong.append(label)


def packages_folders(wrong):
    rows, cols = 256, 384
    for bits, group, symmetric, shuffled, version, dtype in (
            (4, 128, True, False, 1, torch.float16), (4, 64, False, True, 2, torch.float16), (3, 32, True, True, 1, torch.bfloat16),
            (3, 128, False, False, 2, torch.float16), (2, 32, False, False, 1, torch.float16), (8, -1, True, False, 1, torch.bfloat16),
            (8, 128, False, True, 1, torch.float16), (4, 32, False, False, 1, torch.float16), (3, 64, False, False, 1, torch.float16)):
        with tempfile.TemporaryDirectory() as temporary:
            torch.manual_seed(bits)
            size = group if group > 0 else cols
            groups = [i // size for i in range(cols)]
            if shuffled: random.Random(bits).shuffle(groups)
            scales = (torch.rand(rows, cols // size) * 0.05 + 0.01).to(dtype).float()
            zeros = torch.full((rows, cols // size), 2 ** (bits - 1)) if symmetric else torch.randint(0, 2**bits, (rows, cols // size))
            g_idx = torch.tensor(groups, dtype=torch.int32)
            codes = torch.randint(0, 2**bits, (rows, cols))
            linear = torch.nn.Linear(cols, rows, bias=False)
            linear.weight.data = (codes - zeros[:, g_idx.long()]) * scales[:, g_idx.long()]
            module = TorchLinear(bits=bits, group_size=size, sym=symmetric, desc_act=shuffled, in_features=cols, out_features=rows, format=FORMAT.GPTQ_V2)
            module.pack(linear, scales, zeros, g_idx)
            module.scales = module.scales.to(dtype)
            module.post_init()
            wanted = TorchLinear.dequantize_weight(torch.nn.Module.float(module)).T.contiguous()
            assert torch.equal(wanted, linear.weight), "what was packed"
            if version == 1: convert_gptq_v2_to_v1_format_module(module, QuantizeConfig(bits=bits, group_size=size))
            config = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": symmetric, "desc_act": shuffled,
                      "checkpoint_format": ("gptq", "gptq_v2")[version - 1], "meta": {"quantizer": ["gptqmodel:7.7.0"]}}
            tensors = {"qweight": module.qweight, "qzeros": module.qzeros, "scales": module.scales.to(dtype), "g_idx": module.g_idx}
            package_says(pathlib.Path(temporary), f"the package's {bits} bits, groups of {group}, {'symmetric' if symmetric else 'with zeros'}"
                         f"{', columns in any order' if shuffled else ''}, version {version}, {dtype}", tensors, config, wanted, wrong)
    for group, dtype in ((64, torch.float16), (128, torch.bfloat16), (-1, torch.float16)):
        with tempfile.TemporaryDirectory() as temporary:
            torch.manual_seed(group)
            size = group if group > 0 else cols
            codes, zeros = torch.randint(0, 16, (cols, rows)), torch.randint(0, 16, (cols // size, rows))
            scales = (torch.rand(cols // size, rows) * 0.05 + 0.01).to(dtype)
            qweight, qzeros = pack_awq(codes, zeros, 4)
            wanted = dequantize_gemm(qweight, qzeros, scales.float(), 4, size).T.contiguous()
            config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}
            package_says(pathlib.Path(temporary), f"the package's AWQ, groups of {group}, {dtype}", {"qweight": qweight, "qzeros": qzeros, "scales": scales},
                         config, wanted, wrong)


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
