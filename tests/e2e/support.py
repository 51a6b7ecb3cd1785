"""What the end-to-end tests share: running the program, small models made from a seed, reading safetensors.

Standard library only, so that `make test` needs no package from pip.
"""
import array
import json
import math
import os
import random
import re
import resource
import shutil
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

MXQ = os.environ.get("MXQ_BIN", "mxq")
SOURCE = Path(os.environ.get("MXQ_SOURCE_DIR", Path(__file__).resolve().parents[2]))
SHARED = Path(os.environ.get("MXQ_SHARED", SOURCE.parent / "shared"))
SMOLLM2 = Path(os.environ.get("MXQ_SMOLLM2_GGUF", SOURCE / "build/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
SANITIZED = bool(os.environ.get("MXQ_SANITIZE"))
WIDE_SCHEMES = [f"b{b}g{g}" for b in (2, 3, 4, 5, 6, 8) for g in (32, 64, 128)]
GAUSSIAN_SCHEMES = [f"gauss{b}g{g}" for b in (2, 3, 4) for g in (32, 64, 128)]
ALL_SCHEMES = [f"b{b}g{g}" for b in (2, 3, 4, 5, 6, 8) for g in (16, 32, 64, 128, 256)]


class MxqTest(unittest.TestCase):
    """A test with a folder of its own, a cache of its own, and the program."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="mxq-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.environment = {**os.environ, "MXQ_CACHE": str(self.folder / "cache")}

    def run_mxq(self, *arguments, **options):
        # Random weights write any bytes, and which depends on the processor; as JSON it is always UTF-8.
        if arguments[:1] == ("generate",) and "--json" not in arguments:
            options.setdefault("errors", "replace")
        return subprocess.run([MXQ, *map(str, arguments)], capture_output=True, text=True, env=self.environment,
                              timeout=3600 if SANITIZED else 900, **options)

    def mxq(self, *arguments):
        """Runs it, expects success, returns standard output."""
        done = self.run_mxq(*arguments)
        self.assertEqual(done.returncode, 0, f"mxq {' '.join(map(str, arguments))}\n{done.stderr}")
        return done.stdout

    def mxq_json(self, *arguments):
        return json.loads(self.mxq(*arguments, "--json", "--quiet"))

    def refuses(self, *arguments, status=1, says=()):
        """Expects one clear line, the exit status, and nothing left behind beside what was there."""
        before = listing(self.folder)
        done = self.run_mxq(*arguments)
        command = "mxq " + " ".join(map(str, arguments))
        self.assertEqual(done.returncode, status, f"{command}\n{done.stdout}{done.stderr}")
        lines = said(done.stderr)
        self.assertEqual(len(lines), 1, f"{command}\n{done.stderr}")
        self.assertTrue(lines[0].startswith("mxq: error: "), lines[0])
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, lines[0], command)
        self.assertEqual(listing(self.folder), before, command)
        return lines[0]


def said(stderr):
    """The lines of standard error, but for a forecast: that is said where the machine is slow."""
    return [line for line in stderr.splitlines() if not re.match(r"mxq: about .* of memory", line)]


def small_disk(test, size):
    """A folder on a file system of its own, gone with the test. Skips where it cannot be made."""
    disk = Path(tempfile.mkdtemp(prefix="mxq-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        disk.rmdir()
        test.skipTest("tmpfs cannot be mounted here")
    test.addCleanup(lambda: (subprocess.run(["umount", disk]), disk.rmdir()))
    return disk


def listing(folder):
    """Every file below the folder but the cache's."""
    return sorted(str(p) for p in Path(folder).rglob("*") if "cache" not in p.relative_to(folder).parts[:1])


def bf16(values):
    """Floats as bfloat16 bytes, truncated."""
    words = array.array("I", array.array("f", values).tobytes())
    return array.array("H", [w >> 16 for w in words]).tobytes()


def f16(values):
    return struct.pack(f"<{len(values)}e", *values)


def f32(values):
    return array.array("f", values).tobytes()


ENCODE = {"F32": f32, "F16": f16, "BF16": bf16}


def write_safetensors(path, tensors, metadata=None):
    """tensors: name -> (dtype, shape, bytes)."""
    header, at = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def read_safetensors(path):
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + length + t["data_offsets"][0]:8 + length + t["data_offsets"][1]])
            for name, t in header.items()}


def read_folder(folder):
    """All tensors of a folder's safetensors files."""
    tensors = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        tensors.update(read_safetensors(path))
    return tensors


def floats(tensor):
    dtype, _, data = tensor
    if dtype == "F32":
        return array.array("f", data)
    if dtype == "F16":
        return array.array("f", struct.unpack(f"<{len(data) // 2}e", data))
    words = array.array("I", (w << 16 for w in array.array("H", data)))
    return array.array("f", words.tobytes())


CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 160,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
    "bos_token_id": 1, "eos_token_id": 2,
}


def small_model(folder, seed=1, dtype="BF16", shards=1, config=None):
    """A Hugging Face Llama folder with random weights; returns name -> list of floats as stored."""
    config = {**CONFIG, **(config or {})}
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = hidden // config["num_attention_heads"]
    kv = head * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,),
              "lm_head.weight": (vocab, hidden)}
    for i in range(config["num_hidden_layers"]):
        p = f"model.layers.{i}."
        shapes |= {p + "self_attn.q_proj.weight": (hidden, hidden), p + "self_attn.k_proj.weight": (kv, hidden),
                   p + "self_attn.v_proj.weight": (kv, hidden), p + "self_attn.o_proj.weight": (hidden, hidden),
                   p + "mlp.gate_proj.weight": (inner, hidden), p + "mlp.up_proj.weight": (inner, hidden),
                   p + "mlp.down_proj.weight": (hidden, inner), p + "input_layernorm.weight": (hidden,),
                   p + "post_attention_layernorm.weight": (hidden,)}
    rng = random.Random(seed)
    tensors = {}
    for name, shape in shapes.items():
        count = math.prod(shape)
        values = [1.0] * count if "norm" in name else [rng.gauss(0, 0.05) for _ in range(count)]
        tensors[name] = (dtype, shape, ENCODE[dtype](values))
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    else:
        names = list(tensors)
        weight_map = {}
        for s in range(shards):
            file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
            part = {n: tensors[n] for n in names[s::shards]}
            weight_map |= {n: file for n in part}
            write_safetensors(folder / file, part, {"format": "pt"})
        (folder / "model.safetensors.index.json").write_text(json.dumps(
            {"metadata": {"total_size": sum(len(t[2]) for t in tensors.values())}, "weight_map": weight_map}))
    return tensors


def byte_tokenizer(folder, tokens=259):
    """tokenizer.json of a model of bytes: ids 0 to 255 are GPT-2's characters for them in order of their code points,
    then <s>, </s> and fillers."""
    bytes_as_they_are = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in bytes_as_they_are] + [chr(256 + i) for i in range(256 - len(bytes_as_they_are))]
    names = letters + ["<s>", "</s>"] + [f"<{i}>" for i in range(258, tokens)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    (Path(folder) / "tokenizer.json").write_text(json.dumps({
        "added_tokens": [{"id": 256, "content": "<s>", "special": True}, {"id": 257, "content": "</s>", "special": True}],
        "pre_tokenizer": level, "decoder": level,
        "model": {"type": "BPE", "vocab": {name: i for i, name in enumerate(names)}, "merges": []}}))


def small_text_model(folder, **options):
    """small_model() with that tokenizer."""
    small_model(folder, config={"vocab_size": 272, "bos_token_id": 256, "eos_token_id": 257}, **options)
    byte_tokenizer(folder)


def matrix_names(layers=2):
    modules = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
               "mlp.up_proj", "mlp.down_proj"]
    return [f"model.layers.{i}.{m}" for i in range(layers) for m in modules]


def needs_smollm2(test):
    return unittest.skipUnless(SMOLLM2.exists(), f"SmolLM2 is not at {SMOLLM2}; `make test` fetches it")(test)


def needs_shared(test):
    return unittest.skipUnless(SHARED.exists(), f"no reference data at {SHARED} (set MXQ_SHARED)")(test)


def child_peak_rss():
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
