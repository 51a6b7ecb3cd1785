"""Plans made for GPTQ's and AWQ's loaders: folders of the bytes that the plan promises, which are read back as the model."""
import json
import re
import struct
import unittest

from folder_formats import DOWN, FAST, header_bytes
from support import SMOLLM2, MxqTest, needs_smollm2, read_folder, small_model

FOUR = ("--schemes", "b2g32,b4g32,b8g32")  # of small_model(): not all rows fill words in 3 bits
PARTS = {"gptq": ("qweight", "qzeros", "g_idx", "scales"), "awq": ("qweight", "qzeros", "scales")}


class PackedFolders(MxqTest):
    def setUp(self):
        super().setUp()
        self.model, self.out = self.folder / "model", self.folder / "out"
        small_model(self.model)

    def quantize(self, target, *options, out=None):
        return self.mxq_json("quantize", self.model, "--format", target, *options, "-o", out or self.out)

    def said(self):
        return json.loads((self.out / "config.json").read_text())["quantization_config"]

    def test_bytes_are_those_of_the_plan(self):
        for target, schemes in (("gptq", FOUR), ("awq", ("--schemes", "b4g32"))):
            plan = self.quantize(target, "--bits", 6, *FAST, *schemes, out=self.folder / target)
            self.assertEqual(plan["format"], target)
            stored = read_folder(self.folder / target)
            planned = sum(m["bytes"] for m in plan["matrices"].values())
            self.assertEqual(len(plan["matrices"]), 14)  # embedding and output matrix stay
            self.assertEqual(planned, plan["bytes"])
            for name, matrix in plan["matrices"].items():
                self.assertEqual(sum(len(stored[f"{name}.{part}"][2]) for part in PARTS[target]), matrix["bytes"], name)
            file = self.folder / target / "model.safetensors"
            rest = sum(len(t[2]) for name, t in stored.items() if name.endswith(".weight"))
            self.assertEqual(file.stat().st_size, header_bytes(file) + planned + rest)
            self.assertEqual(plan["files"]["model.safetensors"], file.stat().st_size)

    def test_a_size_is_that_of_the_file(self):
        size = 75_000
        plan = self.quantize("gptq", "--size", size, *FAST, *FOUR)
        self.assertNotIn("lm_head", plan["matrices"])
        self.assertLessEqual((self.out / "model.safetensors").stat().st_size, size)
        self.assertGreater((self.out / "model.safetensors").stat().st_size, 0.9 * size)

    def test_rules_of_gptq_say_what_each_module_is_in(self):
        plan = self.quantize("gptq", "--bits", 5.5, *FAST, *FOUR, "--pin", "o_proj=b8g32", *DOWN)
        said, stored = self.said(), read_folder(self.out)
        self.assertEqual(said, json.loads((self.out / "quantize_config.json").read_text()))
        self.assertEqual((said["quant_method"], said["checkpoint_format"], said["sym"], said["desc_act"]), ("gptq", "gptq", True, False))
        def rule_of(module):
            for pattern, rule in said["dynamic"].items():
                if re.match(pattern[2:], module): return None if pattern.startswith("-:") else (rule["bits"], rule["group_size"])
            return said["bits"], said["group_size"]
        for name, matrix in plan["matrices"].items():
            bits, group = map(int, matrix["scheme"][1:].split("g"))
            self.assertEqual(rule_of(name), (bits, group), name)
            rows = stored[f"{name}.qweight"][1][1]
            cols = stored[f"{name}.qweight"][1][0] * 32 // bits
            self.assertEqual(stored[f"{name}.qzeros"][:2], ("I32", [cols // group, rows * bits // 32]))
            self.assertEqual(stored[f"{name}.scales"][:2], ("BF16", [cols // group, rows]))
            self.assertEqual(stored[f"{name}.g_idx"][2], struct.pack(f"<{cols}i", *(k // group for k in range(cols))))
        for layer in range(2):
            block = f"model.layers.{layer}"
            self.assertIsNone(rule_of(f"{block}.mlp.down_proj"))
            self.assertEqual(rule_of(f"{block}.self_attn.qkv_proj"), rule_of(f"{block}.self_attn.q_proj"))
            self.assertEqual(rule_of(f"{block}.mlp.gate_up_proj"), rule_of(f"{block}.mlp.up_proj"))

    def test_awq_names_what_is_left(self):
        self.quantize("awq", "--uniform", "b4g32", "--fit", "mse", *DOWN)
        said = self.said()
        self.assertEqual((said["quant_method"], said["version"], said["bits"], said["group_size"], said["zero_point"]), ("awq", "gemm", 4, 32, True))
        self.assertEqual(said["modules_to_not_convert"], ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj", "lm_head"])

    def test_zeros_of_their_own_are_another_version(self):
        self.quantize("gptq", "--uniform", "b4g32", "--fit", "mse", "--zero-point", "integer")
        said = self.said()
        self.assertEqual((said["checkpoint_format"], said["sym"]), ("gptq_v2", False))
        zeros = b"".join(t[2] for name, t in read_folder(self.out).items() if name.endswith("qzeros"))
        self.assertGreater(len(set(zeros)), 10)
        plan = self.folder / "plan.json"
        self.mxq("plan", self.model, "--format", "gptq", "--bits", 5, *FAST, *FOUR, "--zero-point", "integer", "-o", plan)
        self.mxq("quantize", self.model, "--plan", plan, "-o", self.folder / "planned")
        self.quantize("gptq", "--bits", 5, *FAST, *FOUR, "--zero-point", "integer", "--overwrite")
        self.assertEqual((self.folder / "planned/model.safetensors").read_bytes(), (self.out / "model.safetensors").read_bytes())

    def test_come_back_as_a_model(self):
        first = read_folder(self.model)
        for target, scheme in (("gptq", "b8g32"), ("awq", "b4g32")):
            out = self.folder / target
            self.quantize(target, "--uniform", scheme, "--fit", "mse", out=out)
            report = self.mxq_json("inspect", out)
            self.assertEqual({m["dtype"] for m in report["matrices"]}, {scheme})
            self.mxq("dequantize", out, "-o", self.folder / f"{target}-back", "--dtype", "f32")
            self.assertEqual(set(read_folder(self.folder / f"{target}-back")), set(first))
            self.assertNotIn("quantization_config", json.loads((self.folder / f"{target}-back/config.json").read_text()))
            again = self.mxq_json("quantize", out, "--format", "mxq", "--uniform", "b4g32", "--fit", "mse", "-o", self.folder / f"{target}-again")
            self.assertEqual(again["format"], "mxq")
            # What stays as it is comes out of a checkpoint as it went in.
            self.mxq("quantize", out, "--bits", 4.5, *FAST, "--skip", "o_proj", "-o", self.folder / f"{target}-kept")
            self.mxq("dequantize", self.folder / f"{target}-kept", "-o", self.folder / f"{target}-kept-back", "--dtype", "f32")
            back, kept = read_folder(self.folder / f"{target}-back"), read_folder(self.folder / f"{target}-kept-back")
            for name in back:
                if "o_proj" in name: self.assertEqual(back[name], kept[name], name)

    def test_errors_are_cached_for_their_own_zeros(self):
        def plan(zeros):
            return self.mxq_json("plan", self.model, "--format", "gptq", "--zero-point", zeros, *FAST, *FOUR, "--bits", 5)["matrices"]
        first, between, again = plan("symmetric"), plan("integer"), plan("symmetric")
        self.assertEqual(again, first)
        self.environment["MXQ_CACHE"] = str(self.folder / "cache/fresh")
        self.assertEqual(plan("integer"), between)

    def test_what_the_formats_have_no_place_for_is_refused_by_name(self):
        def refuses(target, *options, says, status=2):
            self.refuses("quantize", self.model, "--format", target, *options, "-o", self.out, status=status, says=says)
        refuses("gptq", "--bits", 5, *FAST, "--schemes", "b5g64", says=("--schemes", "b5g64 for the format gptq", "b2, b3, b4 or b8"))
        refuses("gptq", "--bits", 5, *FAST, "--normalize", "rotation", says=("--normalize", "rotation for the format gptq"))
        refuses("gptq", "--bits", 5, *FAST, "--metadata", "q8", says=("--metadata", "q8 for the format gptq", "f16-bias"))
        refuses("gptq", "--bits", 5, "--objective", "rel", "--fit", "rtn", says=("--fit", "rtn for the format gptq", "gptq or mse"))
        refuses("gptq", "--bits", 5, *FAST, "--embeddings", says=("embeddings", "for the format gptq"))
        refuses("gptq", "--bits", 5, *FAST, "--zero-point", "real", says=("--zero-point", "real for the format gptq", "symmetric or integer"))
        refuses("gptq", "--uniform", "b4g64", "--fit", "mse", status=1, says=("down_proj", "--skip"))
        refuses("gptq", "--bits", 5, *FAST, *FOUR, "--skip", "q_proj", says=("q_proj' in 16 bits", "one scheme for modules that the runtime fuses"))
        refuses("awq", "--bits", 5, *FAST, "--schemes", "b3g64", says=("--schemes", "b3g64 for the format awq", "b4g32, b4g64 or b4g128"))
        refuses("awq", "--bits", 5, *FAST, "--schemes", "b4g32,b4g64", says=("b4g64 beside b4g32 for the format awq", "one of"))
        refuses("awq", "--bits", 5, "--objective", "rel", "--fit", "awq", says=("--fit", "awq for the format awq", "gptq or mse"))
        self.assertFalse(self.out.exists())

    def test_folders_of_other_kinds_are_refused_by_name(self):
        self.quantize("gptq", "--uniform", "b4g32", "--fit", "mse")
        good = (self.out / "config.json").read_text()
        def refuses(change, *says):
            config = json.loads(good)
            config["quantization_config"].update(change)
            (self.out / "config.json").write_text(json.dumps(config))
            self.refuses("inspect", self.out, says=says)
        refuses({"checkpoint_format": "marlin"}, "'checkpoint_format'", "marlin", "gptq or gptq_v2")
        refuses({"bits": 5}, "'bits' is 5", "2, 3, 4 or 8")
        refuses({"bits": 8}, "qweight", "bits and groups that the configuration has")
        refuses({"group_size": 64}, "scales", "bits and groups that the configuration has")
        refuses({"rotation": "hadamard"}, "'rotation'")
        refuses({"quant_method": "awq"}, "'checkpoint_format'", "gemm")
        refuses({"quant_method": "awq", "checkpoint_format": "gemm"}, "qweight", "[K, N / 8]")
        refuses({"quant_method": "aqlm"}, "quantized already", "aqlm")


@needs_smollm2
class RealModel(MxqTest):
    def test_eight_bits_are_nearly_the_model(self):
        out = self.folder / "eight"
        plan = self.mxq_json("quantize", SMOLLM2, "--format", "gptq", "--uniform", "b8g64", "--fit", "mse", "-o", out)
        self.assertEqual(len(plan["matrices"]), 210)
        loss = self.mxq_json("eval", out, "--against", SMOLLM2, "--self", "--sequences", 2, "--tokens", 64)["kl"]["mean"]
        self.assertLess(loss, 0.003)

    def test_zeros_of_their_own_lose_less_than_those_in_the_middle(self):
        losses = []
        for zeros in ("integer", "symmetric"):
            out = self.folder / zeros
            plan = self.mxq_json("quantize", SMOLLM2, "--format", "awq", "--uniform", "b4g32", "--fit", "mse", "--zero-point", zeros, "-o", out)
            losses.append(sum(matrix["fnorm"] ** 2 for matrix in plan["matrices"].values()))
        self.assertLess(losses[0], 0.95 * losses[1], losses)


if __name__ == "__main__":
    unittest.main()
