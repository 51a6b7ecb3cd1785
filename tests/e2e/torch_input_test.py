"""PyTorch's .bin and .pth are models as safetensors are: the same tensors, the same files of every command; and whatever else a pickle holds is refused, and never run."""
import collections
import json
import pickle
import shutil
import struct
import unittest
import zipfile
from pathlib import Path

from support import CONFIG, MxqTest, byte_tokenizer, read_folder, small_model, write_safetensors
from torch_files import Called, Parameter, Storage, Tensor, pickled, state_dict, transposed, write_torch, write_zip

QUANTIZE = ("--bits", "4.2", "--objective", "rel", "--fit", "mse")
RUNS = ("--bits", "4.2", "--sample-tokens", "256")
TEXT_CONFIG = {"vocab_size": 272, "bos_token_id": 256, "eos_token_id": 257}
SIZES = {"F32": 4, "F16": 2, "BF16": 2}


class TorchTest(MxqTest):
    def setUp(self):
        super().setUp()
        self.models = self.folder / "models"
        self.plain = self.models / "safetensors"
        self.tensors = self.plain_model()

    def plain_model(self, config=None, **options):
        """A folder of safetensors, in the order of names, in which the official package writes them."""
        tensors = small_model(self.plain, config={**TEXT_CONFIG, **(config or {})}, **options)
        byte_tokenizer(self.plain)
        if (self.plain / "model.safetensors").exists():
            write_safetensors(self.plain / "model.safetensors", dict(sorted(tensors.items())), {"format": "pt"})
        return tensors

    def torch_folder(self, name="torch"):
        """The same folder without its weights."""
        folder = self.models / name
        shutil.copytree(self.plain, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
        return folder

    def files(self, folder):
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}

    def written(self, command, model, *options):
        out = self.folder / "out"
        self.mxq(command, model, "-o", out, *options, "--quiet")
        files = self.files(out)
        shutil.rmtree(out)
        return files

    def assert_same_model(self, model):
        """Every job gives what it gives of the safetensors."""
        for command, *options in (("quantize", *QUANTIZE), ("dequantize",)):
            expected, got = self.written(command, self.plain, *options), self.written(command, model, *options)
            self.assertEqual(list(expected), list(got))
            for name, data in expected.items(): self.assertTrue(data == got[name], f"{command}: {name} differs")


class Formats(TorchTest):
    def test_one_file(self):
        folder = self.torch_folder()
        write_torch(folder / "pytorch_model.bin", state_dict(self.tensors))
        self.assert_same_model(folder)
        # Another name, and a pickle from a program that keeps Parameters, wrapped in a checkpoint of a training run.
        (folder / "pytorch_model.bin").unlink()
        (folder / "training_args.bin").write_bytes(b"never read")
        module = {"module." + name: Parameter(tensor) for name, tensor in state_dict(self.tensors).items()}
        write_torch(folder / "model.pth", {"epoch": 3, "model": module, "optimizer": {"state": {}, "lr": 0.1}})
        self.assert_same_model(folder)

    def test_shards(self):
        shutil.rmtree(self.plain)
        self.tensors = self.plain_model(shards=3)
        index = json.loads((self.plain / "model.safetensors.index.json").read_text())
        folder = self.torch_folder()
        for shard in sorted(set(index["weight_map"].values())):
            part = {name: self.tensors[name] for name, file in index["weight_map"].items() if file == shard}
            write_safetensors(self.plain / shard, dict(sorted(part.items())), {"format": "pt"})
            write_torch(folder / shard.replace("model", "pytorch_model").replace(".safetensors", ".bin"), state_dict(part))
        weight_map = {name: file.replace("model", "pytorch_model").replace(".safetensors", ".bin")
                      for name, file in index["weight_map"].items()}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        self.assert_same_model(folder)
        self.refuses("inspect", folder / "pytorch_model-00002-of-00003.bin", says="one of several shards")
        # Shards say themselves how many they are.
        (folder / "pytorch_model.bin.index.json").unlink()
        self.assert_same_model(folder)
        (folder / "pytorch_model-00002-of-00003.bin").unlink()
        self.refuses("inspect", folder, says=("1 are missing", "number 2"))

    def test_views_that_are_not_row_by_row(self):
        for dtype in ("BF16", "F32", "F16"):
            with self.subTest(dtype):
                shutil.rmtree(self.models)
                self.tensors = self.plain_model(dtype=dtype)
                folder, size = self.torch_folder(), SIZES[dtype]
                views = collections.OrderedDict()
                for name, (_, shape, data) in self.tensors.items():
                    if len(shape) == 2 and "q_proj" not in name:  # a transposed matrix
                        rows, cols = shape
                        views[name] = Tensor(Storage(dtype, transposed(data, rows, cols, size)), shape, (1, rows))
                    elif len(shape) == 2:  # rows cut out of wider ones
                        rows, cols = shape
                        wide = b"".join(b"\xff" * 6 * size + data[r * cols * size:(r + 1) * cols * size] for r in range(rows))
                        views[name] = Tensor(Storage(dtype, wide), shape, (cols + 6, 1), offset=6)
                    else:
                        views[name] = Tensor(Storage(dtype, data), shape)
                write_torch(folder / "pytorch_model.bin", views)
                self.assert_same_model(folder)
                plain, other = self.mxq_json("inspect", self.plain), self.mxq_json("inspect", folder)
                self.assertEqual(plain, other)

    def test_dtypes_that_are_no_weights_are_copied(self):
        self.tensors["model.positions"] = ("I64", (2, 3), struct.pack("<6q", *range(6)))
        self.tensors["model.precise"] = ("F64", (2, 2), struct.pack("<4d", 0.1, 0.2, 0.3, 0.4))
        by_dtype = sorted(self.tensors, key=lambda name: (["I64", "F64", "BF16"].index(self.tensors[name][0]), name))
        write_safetensors(self.plain / "model.safetensors", {name: self.tensors[name] for name in by_dtype}, {"format": "pt"})
        folder = self.torch_folder()
        state = state_dict(self.tensors)
        state["model.positions"] = Tensor(Storage("I64", struct.pack("<6q", 0, 3, 1, 4, 2, 5)), (2, 3), (1, 2))
        state["model.precise"] = Tensor(Storage("F64", struct.pack("<4d", 0.1, 0.3, 0.2, 0.4)), (2, 2), (1, 2))
        write_torch(folder / "pytorch_model.bin", state)
        self.assert_same_model(folder)

    def test_a_tied_head_is_a_second_name(self):
        shutil.rmtree(self.models)
        self.tensors = self.plain_model(config={"tie_word_embeddings": True})
        head = self.tensors.pop("lm_head.weight")
        write_safetensors(self.plain / "model.safetensors", dict(sorted(self.tensors.items())), {"format": "pt"})
        folder = self.torch_folder()
        state = state_dict(self.tensors)
        embedding = state["model.embed_tokens.weight"]
        state["lm_head.weight"] = Tensor(embedding.storage, embedding.shape)
        write_torch(folder / "pytorch_model.bin", state)
        self.assert_same_model(folder)
        self.assertEqual(head[1], embedding.shape)

    def test_a_file_alone(self):
        folder = self.torch_folder()
        (folder / "notes.txt").write_text("not the model's\n")
        write_torch(folder / "some.pth", state_dict(self.tensors))
        # With its configuration and tokenizer beside it.
        self.assert_same_model(folder / "some.pth")
        self.mxq("tokenize", folder / "some.pth", "--text", __file__)
        (folder / "config.json").unlink()
        report = self.mxq_json("inspect", folder / "some.pth")
        self.assertEqual((report["architecture"], len(report["matrices"])), ("unknown", 14))
        self.refuses("inspect", folder, says="no config.json")

    def test_safetensors_win(self):
        (self.plain / "pytorch_model.bin").write_bytes(b"never read")
        done = self.run_mxq("dequantize", self.plain, "-o", self.folder / "out")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("pytorch_model.bin lies beside the safetensors", done.stderr)

    def test_every_job(self):
        folder = self.torch_folder()
        write_torch(folder / "pytorch_model.bin", state_dict(self.tensors))
        text = self.folder / "text"
        text.write_text("The tower is 324 metres tall, about the same height as an 81-storey building. " * 20)
        results = []
        for model in (self.plain, folder):
            errors, plan = self.folder / "errors.csv", self.folder / "plan.json"
            self.mxq("measure", model, "-o", errors, "--fit", "mse")
            self.mxq("plan", model, *QUANTIZE, "-o", plan)
            results.append([errors.read_bytes(), json.loads(plan.read_text())["matrices"],
                            self.mxq_json("eval", model, "--text", text, "--window", "64")["nll"],
                            self.written("quantize", model, *RUNS)])
        for plain, torch in zip(*results): self.assertEqual(plain, torch)
        written = []
        for model in (self.plain, folder):
            words = json.loads((model / "tokenizer.json").read_text())
            words["pre_tokenizer"]["use_regex"] = True  # GPT-2's rule, which llama.cpp has
            (model / "tokenizer.json").write_text(json.dumps(words))
            model = model.rename(self.models / "model")  # the file holds the folder's name
            self.mxq("quantize", model, "--bits", "5", "--objective", "rel", "--format", "gguf", "-o", self.folder / "model.gguf")
            written.append((self.folder / "model.gguf").read_bytes())
            shutil.rmtree(model)
            (self.folder / "model.gguf").unlink()
        self.assertTrue(written[0] == written[1])

    def test_out_is_never_what_is_read(self):
        folder = self.torch_folder()
        write_torch(folder / "some.pth", state_dict(self.tensors))
        for out in (folder, folder / "some.pth", folder / "new"):
            self.refuses("quantize", folder, *QUANTIZE, "-o", out, "--overwrite", status=2)
        for out in (folder, folder / "some.pth"):
            self.refuses("quantize", folder / "some.pth", *QUANTIZE, "-o", out, "--overwrite", status=2)


class Meta(TorchTest):
    """Llama as Meta publishes it."""
    NAMES = {"model.embed_tokens": "tok_embeddings", "model.norm": "norm", "lm_head": "output", "self_attn.q_proj": "attention.wq",
             "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv", "self_attn.o_proj": "attention.wo",
             "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3",
             "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm", "model.layers": "layers"}
    PARAMS = {"dim": 64, "multiple_of": 32, "n_heads": 4, "n_kv_heads": 2, "n_layers": 2, "norm_eps": 1e-5, "vocab_size": -1}

    def meta_state(self):
        state = collections.OrderedDict()
        for name, (dtype, shape, data) in self.tensors.items():
            if "q_proj" in name or "k_proj" in name:
                data = self.interleaved(data, shape, 16)
            for hf, meta in self.NAMES.items(): name = name.replace(hf, meta)
            state[name] = Tensor(Storage(dtype, data), shape)
        state["rope.freqs"] = Tensor(Storage("BF16", b"\0" * 16), (8,))
        return state

    def meta_folder(self, **params):
        folder = self.models / "meta"
        folder.mkdir()
        write_torch(folder / "consolidated.00.pth", self.meta_state())
        (folder / "params.json").write_text(json.dumps({**self.PARAMS, **params}))
        (folder / "tokenizer.model").write_bytes(b"a tokenizer")
        (folder / "checklist.chk").write_text("not the model's\n")
        return folder

    @staticmethod
    def interleaved(data, shape, head, size=2):
        """Row 2 i + j of a head is Hugging Face's j (head / 2) + i."""
        row = shape[1] * size
        rows = [data[r * row:(r + 1) * row] for r in range(shape[0])]
        return b"".join(rows[r - r % head + r % 2 * (head // 2) + r % head // 2] for r in range(shape[0]))

    def test_is_the_same_model(self):
        folder = self.meta_folder()
        for model in (folder, folder / "consolidated.00.pth"):
            out = self.folder / "out"
            self.mxq("dequantize", model, "-o", out)
            self.assertEqual({name: (d, tuple(s), b) for name, (d, s, b) in read_folder(out).items()}, self.tensors)
            config = json.loads((out / "config.json").read_text())
            for field in ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "vocab_size", "rms_norm_eps", "rope_theta", "tie_word_embeddings", "torch_dtype"):
                self.assertEqual(config[field], {**CONFIG, **TEXT_CONFIG}[field], field)
            self.assertEqual(sorted(p.name for p in out.glob("[!.]*")), ["config.json", "model.safetensors", "tokenizer.model"])
            shutil.rmtree(out)
        expected, got = self.written("quantize", self.plain, *QUANTIZE), self.written("quantize", folder, *QUANTIZE)
        self.assertTrue(expected["model.safetensors"] == got["model.safetensors"])

    def test_runs_as_the_same_model(self):
        folder = self.meta_folder()
        byte_tokenizer(folder)
        text = self.folder / "text"
        text.write_text("The tower is 324 metres tall. " * 40)
        plain, meta = (self.mxq_json("eval", m, "--text", text, "--window", "64") for m in (self.plain, folder))
        self.assertEqual(plain["perplexity"], meta["perplexity"])

    def test_scaled_rope_and_tied_heads(self):
        folder = self.meta_folder(use_scaled_rope=True, rope_theta=500000.0, vocab_size=272)
        for tied, params, factor in ((False, {}, 8.0), (True, {}, 32.0), (True, {"rope_scaling_factor": 16}, 16.0)):
            if tied:
                state = self.meta_state()
                state["output.weight"] = Tensor(state["tok_embeddings.weight"].storage, (272, 64))
                write_torch(folder / "consolidated.00.pth", state)
            (folder / "params.json").write_text(json.dumps(
                {**self.PARAMS, "use_scaled_rope": True, "rope_theta": 500000.0, "vocab_size": 272, **params}))
            out = self.folder / "out"
            self.mxq("dequantize", folder, "-o", out)
            config = json.loads((out / "config.json").read_text())
            self.assertEqual((config["rope_scaling"]["factor"], config["tie_word_embeddings"]), (factor, tied))
            self.assertEqual((config["rope_theta"], config["max_position_embeddings"]), (500000.0, 131072))
            self.assertEqual("lm_head.weight" in read_folder(out), not tied)
            shutil.rmtree(out)

    def test_what_contradicts_the_tensors(self):
        folder = self.meta_folder()
        for params, says in (({"dim": 128}, ("params.json", "'dim' is 128", "expected 64")), ({"n_heads": 3}, "'n_heads' is 3"),
                             ({"n_kv_heads": 4}, ("'n_kv_heads' is 4", "expected 2")), ({"n_layers": 3}, ("'n_layers' is 3", "expected 2")),
                             ({"vocab_size": 99}, ("'vocab_size' is 99", "expected 272")), ({"n_heads": "4"}, "'n_heads'"),
                             ({"n_heads": 0}, "'n_heads'"), ({"quantization_args": {"scheme": "int4"}}, "quantization_args")):
            (folder / "params.json").write_text(json.dumps({**self.PARAMS, **params}))
            self.refuses("inspect", folder, says=says)
        (folder / "params.json").write_text("[]")
        self.refuses("inspect", folder, says=("params.json", "an object"))
        (folder / "params.json").unlink()
        self.refuses("inspect", folder, says="no params.json")

    def test_other_layouts(self):
        folder = self.meta_folder()
        shutil.copy(folder / "consolidated.00.pth", folder / "consolidated.01.pth")
        self.refuses("inspect", folder, says=("2 parts", "Hugging Face's layout"))
        (folder / "consolidated.01.pth").unlink()
        state = collections.OrderedDict({"layers.0.feed_forward.experts.0.w1.weight": Tensor(Storage("F32", b"abcd"), (1, 1))})
        write_torch(folder / "consolidated.00.pth", state)
        self.refuses("inspect", folder, says=("'layers.0.feed_forward.experts.0.w1.weight'", "Meta's Llama"))


class BadFiles(TorchTest):
    def setUp(self):
        super().setUp()
        self.bin = self.torch_folder()
        self.weights = self.bin / "pytorch_model.bin"
        self.touched = self.folder / "touched"

    def refused(self, *says, all_jobs=False):
        says = ("pytorch_model.bin", *says)
        self.refuses("inspect", self.bin, says=says)
        if all_jobs:
            self.refuses("measure", self.bin, "-o", self.folder / "errors.csv", says=says)
            self.refuses("plan", self.bin, *QUANTIZE, says=says)
            self.refuses("quantize", self.bin, *QUANTIZE, "-o", self.folder / "out", says=says)
            self.refuses("dequantize", self.bin, "-o", self.folder / "out", says=says)
            self.refuses("eval", self.bin, "--self", says=says)
        self.assertFalse(self.touched.exists(), "something of the pickle was run")

    def refused_pickle(self, data, *says, **options):
        write_zip(self.weights, data, {"0": b"\0" * 24})
        self.refused(*says, **options)

    def test_programs_are_not_run(self):
        command = f"touch {self.touched}"
        write_torch(self.weights, {"w": Called("os", "system", command)})
        self.refused("'os.system', which is not run", all_jobs=True)
        for call in (Called("builtins", "eval", f"open({str(self.touched)!r}, 'w')"), Called("builtins", "exec", "1"),
                     Called("posix", "system", command), Called("subprocess", "Popen", ["touch", str(self.touched)]),
                     Called("torch.hub", "load", "x"), Called("numpy.core.multiarray", "_reconstruct"),
                     Called("argparse", "Namespace"), Called("webbrowser", "open", "http://localhost"),
                     Called("functools", "partial", command), Called("torch._utils", "_rebuild_sparse_tensor")):
            write_torch(self.weights, state_dict(self.tensors) | {"x": call})
            self.refused(f"'{call.module}.{call.name}', which is not run", "torch.save(model.state_dict(), FILE)")

        class Class:
            def __reduce__(self): return print, ("run",)
        data = pickle.dumps({"w": Class()}, protocol=4)
        self.refused_pickle(data, "'builtins.print', which is not run")
        for raw, name in ((b"(S'x'\nios\nsystem\n.", "STRING"), (b"(ios\nsystem\n.", "INST"), (b"\x82\x01.", "EXT1"),
                          (b"}\x97.", "NEXT_BUFFER")):
            self.refused_pickle(b"\x80\x02" + raw, f"the opcode {name}")

    def test_limits(self):
        self.refused_pickle(b"\x80\x02}r\xff\xff\xff\xff.", "LONG_BINPUT", "memo's index 4294967295")
        self.refused_pickle(b"\x80\x02" + b"".join(b"Nr" + struct.pack("<I", i << 16) for i in range(100)) + b".", "memo's index")
        self.refused_pickle(b"\x80\x02" + b"]" * 1000000 + b"a" * 999999 + b".", "a list, not a dict")
        self.refused_pickle(b"\x80\x02]q\0h\0a.", "a list, not a dict")
        self.refused_pickle(b"\x80\x02}q\0X\5\0\0\0modelh\0s.", "dicts within each other")
        self.refused_pickle(b"\x80\x02" + b"(" * 5000000 + b".", "too many marks")
        self.refused_pickle(b"\x80\x02" + b"N" * 5000000 + b".", "too many values")
        self.refused_pickle(b"\x80\x02X\xff\xff\xff\xffname.", "ends within an opcode")
        self.refused_pickle(b"\x80\x02\x8d" + b"\xff" * 8 + b"name.", "ends within an opcode")
        self.refused_pickle(b"\x80\x02", "ends within an opcode")

    def test_views_beyond_their_storage(self):
        storage, most = Storage("F32", b"\0" * 24), 2**63 - 1
        for tensor, says in ((Tensor(storage, (7,)), "it ends beyond it"), (Tensor(storage, (6,), offset=1), "it ends beyond it"),
                             (Tensor(storage, (2, 3), (most, 1)), "it ends beyond it"), (Tensor(storage, (6,), offset=most), "it ends beyond it"),
                             (Tensor(storage, (6,), (-1,), offset=5), "no negative numbers"), (Tensor(storage, (-6,), (1,)), "no negative numbers"),
                             (Tensor(storage, (6,), offset=-1), "no negative numbers"), (Tensor(storage, (2, 3), (1,)), "as many strides"),
                             (Tensor(storage, (2**32, 2**32), (0, 0)), "its size overflows"), (Tensor(storage, (2**20, 6), (0, 1)), "expanded view"),
                             (Tensor(storage, (2**80,), (1,)), "another object")):
            write_torch(self.weights, {"w": tensor})
            self.refused("data.pkl" if says == "another object" else "a tensor of shape", says)
        write_torch(self.weights, {"w": Tensor(storage, (7,))})
        self.refused("a tensor of shape [7], strides [1], offset 0 in storage '0' of 24 bytes", all_jobs=True)

    def test_storages(self):
        data = pickled({"w": Tensor(Storage("F32", b"\0" * 24), (6,))})[0]
        write_zip(self.weights, data)
        self.refused("storage '0' is not in the archive")
        write_zip(self.weights, data, {"0": b"\0" * 20})
        self.refused("storage '0' should hold 6 elements of F32 and has 20 bytes")
        long_key = data.replace(b"X\1\0\0\x000", b"X\x0e\0\0\0../../../0/etc")
        write_zip(self.weights, long_key, {"0": b"\0" * 24})
        self.refused("storage '../../../0/etc' is not in the archive")
        write_zip(self.weights, data, {"0": b"\0" * 24}, {"archive/data/../../etc/passwd": b"x"})
        self.refused("storage 'archive/data/../../etc/passwd'", "a number for a name")

    def test_archives(self):
        data = pickled({"w": Tensor(Storage("F32", b"\0" * 24), (6,))})[0]
        write_zip(self.weights, data, {"0": b"\0" * 24}, compression=zipfile.ZIP_DEFLATED)
        self.refused("'archive/data.pkl' is compressed (method 8)", "stored entries")
        write_zip(self.weights, data, {"0": b"\0" * 24}, byteorder=b"big")
        self.refused("'archive/byteorder' is 'big'", "a little-endian machine")
        write_zip(self.weights, data, {"0": b"\0" * 24}, {"archive/constants.pkl": b"x"})
        self.refused("a TorchScript archive", "torch.save(model.state_dict(), FILE)")
        write_zip(self.weights, data, {"0": b"\0" * 24}, {"other/data.pkl": b"x"})
        self.refused("both 'archive/' and 'other/' hold data.pkl")
        with self.assertWarns(UserWarning): write_zip(self.weights, data, {"0": b"\0" * 24}, {"archive/data/0": b"\0" * 24})
        self.refused("'archive/data/0' is there twice")
        with zipfile.ZipFile(self.weights, "w") as archive: archive.writestr("readme.txt", "x")
        self.refused("a zip archive without NAME/data.pkl")
        self.weights.write_bytes(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
        self.refused("from before PyTorch 1.6", "saved again by torch.save of PyTorch 1.6 or newer")
        self.weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        self.refused("git lfs pull")

    def test_cut_anywhere(self):
        write_torch(self.weights, state_dict({"w": ("F32", (6,), b"\0" * 24)}))
        whole = self.weights.read_bytes()
        for size in range(4, len(whole), 61):
            self.weights.write_bytes(whole[:size])
            self.refused()
        write_torch(self.weights, state_dict(self.tensors))
        whole = self.weights.read_bytes()
        self.weights.write_bytes(whole[:len(whole) // 2])
        self.refused("no zip directory at the file's end", all_jobs=True)

    def test_directories_that_lie(self):
        write_torch(self.weights, state_dict({"w": ("F32", (6,), b"\0" * 24)}))
        whole = self.weights.read_bytes()
        end, first = whole.rindex(b"PK\5\6"), whole.index(b"PK\1\2")
        at = whole.index(b"PK\1\2", whole.index(b"archive/data/0", first) - 46)  # of the storage's entry
        for place, form, value, says in ((end + 16, "<I", 0, "the zip directory has"), (end + 12, "<I", 2**31, "the zip directory has"),
                                         (at + 42, "<I", 3, "no header at byte 3"), (at + 24, "<I", 2**31, "are stored in"),
                                         (at + 24, "<I", 2**32 - 1, "sizes of zip64 without their field"),
                                         (at + 42, "<I", 0, "contradicts the directory"), (end + 10, "<H", 65535, "several disks")):
            damaged = bytearray(whole)
            struct.pack_into(form, damaged, place, value)
            self.weights.write_bytes(damaged)
            self.refused(says)
        # The first entry reaches into those behind it.
        damaged = bytearray(whole)
        for place in (first + 20, first + 24, 18, 22): struct.pack_into("<I", damaged, place, first - 200)
        self.weights.write_bytes(damaged)
        self.refused("overlap")


if __name__ == "__main__":
    unittest.main()
