"""Every wrong input gives one clear line, a non-zero exit, and leaves nothing behind."""
import array
import json
import re
import struct
import subprocess
import unittest

from support import MXQ, MxqTest, listing, said, small_disk, small_model, write_safetensors

QUANTIZE = ("--bits", "3.25", "--objective", "rel")


class BadModel(MxqTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        self.tensors = small_model(self.model)
        self.weights = self.model / "model.safetensors"

    def refused(self, *says, status=1):
        """All commands that read weights refuse the model."""
        self.refuses("inspect", self.model, status=status, says=says)
        self.refuses("measure", self.model, "-o", self.folder / "errors.csv", status=status, says=says)
        self.refuses("quantize", self.model, "-o", self.folder / "out", *QUANTIZE, status=status, says=says)
        self.refuses("dequantize", self.model, "-o", self.folder / "out", status=status, says=says)

    def header(self, change):
        """Rewrites the header of the weights through `change`."""
        data = self.weights.read_bytes()
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8:8 + length])
        text = change(header) or json.dumps(header)
        text = text.encode() if isinstance(text, str) else text
        self.weights.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length:])

    def test_truncated_at_every_kib_of_header(self):
        data = self.weights.read_bytes()
        (length,) = struct.unpack_from("<Q", data)
        for size in [0, 7, 8, *range(1024, length, 1024), length + 8, len(data) - 1]:
            self.weights.write_bytes(data[:size])
            self.refuses("inspect", self.model, says="model.safetensors")
        self.refused("model.safetensors")

    def test_header_length_beyond_the_file(self):
        data = self.weights.read_bytes()
        for length in (len(data), 2**40, 2**64 - 1):
            self.weights.write_bytes(struct.pack("<Q", length) + data[8:])
            self.refused("model.safetensors")

    def test_overlapping_and_out_of_range_offsets(self):
        def overlap(header):
            names = [n for n in header if n != "__metadata__"]
            header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]
        self.header(overlap)
        self.refused("model.safetensors")

    def test_out_of_range_offsets(self):
        def shift(header):
            header["lm_head.weight"]["data_offsets"] = [2**62, 2**62 + 12288]
        self.header(shift)
        self.refused("lm_head.weight")

    def test_duplicate_names(self):
        self.header(lambda header: json.dumps(header).replace('"model.layers.1.mlp.up_proj.weight"',
                                                              '"model.layers.0.mlp.up_proj.weight"'))
        self.refused("model.layers.0.mlp.up_proj.weight")

    def test_overflowing_shape(self):
        def huge(header):
            header["lm_head.weight"]["shape"] = [2**40, 2**40]
        self.header(huge)
        self.refused("lm_head.weight")

    def test_unknown_dtype(self):
        def unknown(header):
            header["lm_head.weight"]["dtype"] = "F4"
        self.header(unknown)
        self.refused("lm_head.weight", "F4")

    def test_nan_and_infinity_are_named(self):
        dtype, shape, data = self.tensors["model.layers.1.mlp.up_proj.weight"]
        for bits, text in ((0x7FC0, "nan"), (0x7F80, "inf"), (0xFF80, "-inf")):
            words = array.array("H", data)
            words[3 * shape[1] + 5] = bits
            write_safetensors(self.weights, self.tensors | {"model.layers.1.mlp.up_proj.weight": (dtype, shape, words.tobytes())})
            says = ("model.layers.1.mlp.up_proj.weight", text, "row 3", "column 5")
            self.refuses("measure", self.model, says=says)
            self.refuses("quantize", self.model, "-o", self.folder / "out", *QUANTIZE, says=says)
            self.refuses("quantize", self.model, "-o", self.folder / "out", "--uniform", "b4g64", says=says)

    def test_missing_shard(self):
        sharded = self.folder / "sharded"
        small_model(sharded, shards=3)
        (sharded / "model-00002-of-00003.safetensors").unlink()
        self.refuses("quantize", sharded, "-o", self.folder / "out", *QUANTIZE, says="model-00002-of-00003.safetensors")

    def test_no_config_or_broken_config(self):
        (self.model / "config.json").write_text("{broken")
        self.refuses("quantize", self.model, "-o", self.folder / "out", *QUANTIZE, says="config.json")

    def test_empty_folder_and_wrong_files(self):
        (self.folder / "empty").mkdir()
        self.refuses("inspect", self.folder / "empty", says="empty")
        (self.folder / "notes.txt").write_text("hello")
        self.refuses("inspect", self.folder / "notes.txt", says="notes.txt")

    def test_model_without_matrices(self):
        write_safetensors(self.weights, {"model.norm.weight": self.tensors["model.norm.weight"]})
        self.refuses("quantize", self.model, "-o", self.folder / "out", *QUANTIZE, says="model.layers.0.self_attn.q_proj")


class BadGguf(MxqTest):
    def test_magic_version_counts(self):
        path = self.folder / "model.gguf"
        good = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
        cases = {
            b"": "model.gguf", b"GGU": "model.gguf", b"GGML" + good[4:]: "model.gguf",
            b"GGUF" + struct.pack("<IQQ", 99, 0, 0): "99",
            b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0): "model.gguf",
            b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60): "model.gguf",
            good[:16] + struct.pack("<Q", 1) + struct.pack("<Q", 2**60) + b"key": "model.gguf",
            # A key with an array of 2^61 u64.
            good[:16] + struct.pack("<QQ", 1, 3) + b"key" + struct.pack("<IIQ", 9, 10, 2**61): "model.gguf",
        }
        for data, says in cases.items():
            path.write_bytes(data)
            self.refuses("inspect", path, says=says)
            self.refuses("quantize", path, "-o", self.folder / "out", *QUANTIZE, says=says)


class BadRequest(MxqTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        small_model(self.model)

    def quantize(self, *arguments, **expected):
        return self.refuses("quantize", self.model, "-o", self.folder / "out", *arguments, **expected)

    def test_budgets(self):
        line = self.quantize("--bits", "1")
        self.assertRegex(line, r"smallest|at least")
        line = self.quantize("--size", "1KiB", says=("1.0 KiB (1024 bytes)", "bits per parameter"))
        smallest = re.search(r"expected at least [0-9.]+ [KM]iB \((\d+) bytes\)", line)[1]
        self.quantize("--size", str(int(smallest) - 1), says=smallest)
        self.quantize("--vram", "1MiB", "--context", "100", says=("expected at least ", "KV cache for 100 tokens"))
        for bad in ("three", "nan", "-1", "0", "1e9", ""):
            self.quantize("--bits", bad, status=2)
        for bad in ("4 parsecs", "-1GiB", "0", "GiB"):
            self.quantize("--size", bad, status=2)

    def test_schemes_and_methods_that_no_one_knows(self):
        self.quantize("--uniform", "b7g64", status=2, says=("b7g64", "b4g64"))
        self.quantize("--bits", "b9g9", status=2, says=("b9g9", "b4g64"))
        self.quantize(*QUANTIZE, "--pin", ".=b5g5", status=2, says="b5g5")
        self.quantize(*QUANTIZE, "--schemes", "b4g64,b1g1", status=2, says="b1g1")
        self.quantize(*QUANTIZE, "--fit", "magic", status=2, says=("magic", "mse", "hqq", "rtn"))
        self.quantize(*QUANTIZE, "--metadata", "f8", status=2, says=("f8", "q8"))
        self.quantize("--bits", "3.25", "--objective", "best", status=2, says=("best", "rel"))
        self.quantize(*QUANTIZE, "--solver", "guess", status=2, says=("guess", "exact"))
        self.quantize(*QUANTIZE, "--tie", "all", status=2, says=("all", "qkv"))
        self.quantize(*QUANTIZE, "--axis", "2", status=2)
        self.quantize(*QUANTIZE, "--pin", "nothing_like_it=b4g64", status=2, says="nothing_like_it")
        self.quantize(*QUANTIZE, "--pin", "([=b4g64", status=2)
        self.quantize(*QUANTIZE, "--skip", "([", status=2)
        self.quantize(*QUANTIZE, "--skip", ".", status=2)

    def test_plan_for_another_model(self):
        other = self.folder / "other"
        small_model(other, config={"intermediate_size": 96})
        self.mxq("plan", other, "--bits", "4", "-o", self.folder / "plan.json")
        self.quantize("--plan", self.folder / "plan.json", status=2, says="mlp.gate_proj")
        deeper = self.folder / "deeper"
        small_model(deeper, config={"num_hidden_layers": 3})
        self.mxq("plan", deeper, "--bits", "4", "-o", self.folder / "plan.json")
        self.quantize("--plan", self.folder / "plan.json", status=2, says="model.layers.2.")

    def test_broken_plan_files(self):
        plan = self.folder / "plan.json"
        for text, says in (("", "plan.json"), ("{}", "objective"), ("[]", "plan.json"), ('{"objective": 3}', "objective")):
            plan.write_text(text)
            self.quantize("--plan", plan, says=says)
        self.quantize("--plan", self.folder / "none.json", says="none.json")

    def test_broken_error_tables(self):
        errors = self.folder / "errors.csv"
        good = "layer,module,nbit1,gsize1,nbit2,gsize2,fnorm,memmb,params\n0,q,4,64,8,128,1.5,2,4000000\n"
        for text, says in (("", "errors.csv"), ("a,b\n1,2\n", "layer"), (good.replace("1.5", "x"), "line 2"),
                           (good.replace("1.5", "nan"), "line 2"), (good.replace("1.5", "-1"), "line 2"),
                           (good + good.splitlines()[1] + "\n", "line 3")):
            errors.write_text(text)
            self.refuses("plan", "--errors", errors, "--bits", "4.5", says=says)

    def test_existing_output_is_kept(self):
        (self.folder / "out").mkdir()
        (self.folder / "out/precious").write_text("1")
        self.quantize(*QUANTIZE, status=2, says="out")
        self.quantize(*QUANTIZE, "--overwrite", status=2, says="precious")

    def test_output_in_a_folder_that_is_not_one(self):
        (self.folder / "file").write_text("")
        self.refuses("quantize", self.model, "-o", self.folder / "file/out", *QUANTIZE)

    def test_damaged_checkpoint(self):
        out = self.folder / "out"
        self.mxq("quantize", self.model, "-o", out, *QUANTIZE)
        config = json.loads((out / "config.json").read_text())
        name = "model.layers.0.mlp.up_proj"

        def refused_after(change, says):
            broken = json.loads(json.dumps(config))
            change(broken["quantization_config"])
            (out / "config.json").write_text(json.dumps(broken))
            self.refuses("dequantize", out, "-o", self.folder / "plain", says=says)

        refused_after(lambda q: q["matrices"][name].update(scheme="b9g64"), "b9g64")
        refused_after(lambda q: q["matrices"][name].update(scheme="nf4g64", axis=0), ("nf4 on axis 0", "axis 1"))
        refused_after(lambda q: q["matrices"][name].update(scheme="nf4g64", metadata="f16"), "metadata f16")
        refused_after(lambda q: q["matrices"][name].update(scheme="km3g64"), name)
        refused_after(lambda q: q["matrices"][name].update(rows=2**30), name)
        refused_after(lambda q: q["matrices"][name].update(rows=-1), name)
        refused_after(lambda q: q["matrices"].update(ghost={"scheme": "b4g64", "rows": 1, "cols": 1}), "ghost")
        refused_after(lambda q: q.update(version=3), "version")
        refused_after(lambda q: q.pop("axis"), "axis")


class FullDisk(MxqTest):
    def test_small_tmpfs(self):
        disk = small_disk(self, "48k")
        small_model(self.folder / "model")
        for command, says in ((["quantize", self.folder / "model", "-o", disk / "out", *QUANTIZE], "of disk; expected at most"),
                              (["dequantize", self.folder / "model", "-o", disk / "out"], "space")):
            self.refuses(*command, says=says)
            self.assertEqual(listing(disk), [])


class ReadOnly(MxqTest):
    def test_read_only_folder(self):
        small_model(self.folder / "model")
        for command in (["quantize", self.folder / "model", "-o", "/proc/out", *QUANTIZE],
                        ["measure", self.folder / "model", "-o", "/proc/errors.csv"]):
            done = subprocess.run([MXQ, *map(str, command)], capture_output=True, text=True, env=self.environment)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertEqual(len(said(done.stderr)), 1, done.stderr)
            self.assertIn("/proc/", done.stderr)


if __name__ == "__main__":
    unittest.main()
