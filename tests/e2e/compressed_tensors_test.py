"""Plans made for compressed-tensors: a folder of the bytes that the plan promises, as its loaders read it, which is read back as the model."""
import json
import struct
import unittest

from folder_formats import DOWN, FAST, FolderFormatTest, header_bytes
from support import SMOLLM2, MxqTest, needs_smollm2, read_folder, small_model

FORMAT = "compressed-tensors"
PARTS = ("weight_packed", "weight_scale", "weight_shape")


class CompressedTensors(FolderFormatTest):
    FORMAT = FORMAT

    def test_bytes_are_those_of_the_plan(self):
        small_model(self.model)
        plan = self.quantize("--bits", 5, *FAST)
        self.assertEqual(plan["format"], FORMAT)
        stored = read_folder(self.out)
        planned = sum(m["bytes"] for m in plan["matrices"].values())
        self.assertEqual(len(plan["matrices"]), 14)  # embedding and output matrix stay
        self.assertEqual(planned, plan["bytes"])
        for name, matrix in plan["matrices"].items():
            self.assertEqual(sum(len(stored[f"{name}.{part}"][2]) for part in PARTS), matrix["bytes"], name)
        file = self.out / "model.safetensors"
        rest = sum(len(t[2]) for name, t in stored.items() if name.endswith(".weight"))
        self.assertEqual(file.stat().st_size, header_bytes(file) + planned + rest)
        self.assertEqual(plan["files"]["model.safetensors"], file.stat().st_size)

    def test_a_size_is_that_of_the_file(self):
        small_model(self.model)
        size = 75_000
        plan = self.quantize("--size", size, *FAST)
        self.assertNotIn("lm_head", plan["matrices"])
        self.assertLessEqual((self.out / "model.safetensors").stat().st_size, size)
        self.assertGreater((self.out / "model.safetensors").stat().st_size, 0.9 * size)

    def test_the_folder_is_what_loaders_look_for(self):
        small_model(self.model)
        plan = self.quantize("--bits", 5, *FAST, *DOWN)
        config = json.loads((self.out / "config.json").read_text())
        said = config["quantization_config"]
        self.assertEqual((said["quant_method"], said["format"], config["torch_dtype"]), (FORMAT, "pack-quantized", "bfloat16"))
        self.assertEqual(said["ignore"], ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj", "lm_head"])
        stored = read_folder(self.out)
        named = {}
        for group in said["config_groups"].values():
            self.assertIsNone(group["input_activations"])
            for name in group["targets"]:
                self.assertNotIn(name, named)
                named[name] = group["weights"]
        self.assertEqual(set(named), set(plan["matrices"]))
        for name, matrix in plan["matrices"].items():
            bits, group = map(int, matrix["scheme"][1:].split("g"))
            weights = named[name]
            self.assertEqual((weights["num_bits"], weights["group_size"], weights["symmetric"]), (bits, group, True))
            self.assertEqual((weights["type"], weights["strategy"]), ("int", "group"))
            rows, cols = struct.unpack("<qq", stored[f"{name}.weight_shape"][2])
            self.assertEqual(stored[f"{name}.weight_packed"][:2], ("I32", [rows, cols * bits // 32]))
            self.assertEqual(stored[f"{name}.weight_scale"][:2], ("BF16", [rows, cols // group]))
        self.assertEqual(stored["lm_head.weight"][0], "BF16")
        self.assertFalse([name for name in stored if "zero_point" in name])

    def test_modules_that_vllm_fuses_agree(self):
        small_model(self.model)
        plan = self.quantize("--bits", 4.7, *FAST, "--pin", "o_proj=b8g32")
        for layer in range(2):
            of = {name.rsplit(".", 1)[1]: m["scheme"] for name, m in plan["matrices"].items() if f".{layer}." in name}
            self.assertEqual(of["q_proj"], of["k_proj"])
            self.assertEqual(of["q_proj"], of["v_proj"])
            self.assertEqual(of["gate_proj"], of["up_proj"])
            self.assertEqual(of["o_proj"], "b8g32")
        self.refuses("quantize", self.model, "--format", FORMAT, "--bits", 5, *FAST, "--skip", "q_proj", "-o", self.folder / "other", status=2,
                     says=("q_proj' in 16 bits", "one scheme for modules that the runtime fuses"))

    def test_scales_are_of_the_models_dtype_or_the_one_asked_for(self):
        small_model(self.model, dtype="F16")
        self.quantize("--uniform", "b4g32", "--fit", "mse")
        self.assertEqual({t[0] for t in read_folder(self.out).values()}, {"I32", "I64", "F16"})
        self.quantize("--uniform", "b4g32", "--fit", "mse", "--metadata", "bf16-bias", "--overwrite")
        self.assertEqual({t[0] for t in read_folder(self.out).values()}, {"I32", "I64", "BF16"})

    def test_comes_back_as_a_model(self):
        small_model(self.model)
        self.quantize("--uniform", "b8g32", "--fit", "mse")
        report = self.mxq_json("inspect", self.out)
        self.assertEqual({m["dtype"] for m in report["matrices"]}, {"b8g32"})
        self.mxq("dequantize", self.out, "-o", self.folder / "back", "--dtype", "f32")
        back, first = read_folder(self.folder / "back"), read_folder(self.model)
        self.assertEqual(set(back), set(first))
        self.assertNotIn("quantization_config", json.loads((self.folder / "back/config.json").read_text()))
        again = self.mxq_json("quantize", self.out, "--format", "mxq", "--uniform", "b4g32", "--fit", "mse", "-o", self.folder / "again")
        self.assertEqual(again["format"], "mxq")

    def test_a_plan_file_is_carried_out_in_its_format(self):
        small_model(self.model)
        plan = self.folder / "plan.json"
        self.mxq("plan", self.model, "--format", FORMAT, "--bits", 5, *FAST, "-o", plan)
        done = self.mxq_json("quantize", self.model, "--plan", plan, "-o", self.out)
        self.assertEqual(done["format"], FORMAT)
        self.quantize("--bits", 5, *FAST, "--overwrite")
        first = (self.out / "model.safetensors").read_bytes()
        self.mxq("quantize", self.model, "--plan", plan, "-o", self.folder / "planned")
        self.assertEqual((self.folder / "planned/model.safetensors").read_bytes(), first)

    def test_errors_are_cached_for_their_own_grids(self):
        small_model(self.model)
        def plan(target):
            return self.mxq_json("plan", self.model, "--format", target, "--metadata", "f16-bias", *FAST, "--bits", 5, *DOWN, "--no-embeddings")["matrices"]
        first, between, again = plan(FORMAT), plan("mlx"), plan(FORMAT)
        self.assertEqual(again, first)
        self.environment["MXQ_CACHE"] = str(self.folder / "cache/fresh")
        self.assertEqual(plan("mlx"), between)

    def test_what_is_there_stays(self):
        self.check_that_what_is_there_stays()

    def test_what_the_format_has_no_place_for_is_refused_by_name(self):
        small_model(self.model)
        refuses = self.refuses_options
        where = f"for the format {FORMAT}"
        refuses("--bits", 5, *FAST, "--normalize", "rotation", says=("--normalize", f"rotation {where}"))
        refuses("--bits", 5, *FAST, "--schemes", "gauss3g64", says=("--schemes", f"gauss3g64 {where}", "b8"))
        refuses("--bits", 5, *FAST, "--schemes", "b4g16", says=("--schemes", f"b4g16 {where}"))
        refuses("--bits", 5, *FAST, "--metadata", "q8", says=("--metadata", f"q8 {where}", "f16-bias"))
        refuses("--bits", 5, *FAST, "--axis", 0, says=f"0 {where}")
        refuses("--bits", 5, "--objective", "rel", "--fit", "hqq", says=("--fit", f"hqq {where}", "gptq or mse"))
        refuses("--bits", 5, *FAST, "--embeddings", says=("embeddings", where))
        refuses("--uniform", "b4g64", "--fit", "mse", status=1, says=("down_proj", "--skip"))
        refuses("--size", "1KiB", *FAST, status=1, says=("--size", "at least"))

    def test_models_that_are_not_written_are_refused_by_name(self):
        small_model(self.model, config={"model_type": "gpt_neox", "rope_scaling": None})
        self.refuses("quantize", self.model, "--format", FORMAT, "--bits", 5, *FAST, "-o", self.out, says=("write compressed-tensors", "gpt_neox", "llama"))

    def test_folders_of_other_kinds_are_refused_by_name(self):
        small_model(self.model)
        self.quantize("--uniform", "b4g32", "--fit", "mse")
        good = (self.out / "config.json").read_text()
        def refuses(change, *says):
            config = json.loads(good)
            change(config["quantization_config"])
            (self.out / "config.json").write_text(json.dumps(config))
            self.refuses("inspect", self.out, says=says)
        refuses(lambda q: q.update(format="float-quantized"), "float-quantized", "pack-quantized")
        refuses(lambda q: q.update(format="int-quantized"), "int-quantized", "pack-quantized")
        refuses(lambda q: q["config_groups"]["group_0"].update(input_activations={"num_bits": 8}), "input_activations")
        refuses(lambda q: q.update(sparsity_config={"format": "sparse-24-bitmask"}), "sparse-24-bitmask")
        refuses(lambda q: q.update(kv_cache_scheme={"num_bits": 8}), "kv_cache_scheme")
        refuses(lambda q: q["config_groups"]["group_0"]["weights"].update(num_bits=3), "q_proj", "config_groups")


@needs_smollm2
class RealModel(MxqTest):
    def test_eight_bits_are_nearly_the_model(self):
        out = self.folder / "eight"
        plan = self.mxq_json("quantize", SMOLLM2, "--format", FORMAT, "--uniform", "b8g64", "--fit", "mse", "-o", out)
        self.assertEqual(len(plan["matrices"]), 210)
        loss = self.mxq_json("eval", out, "--against", SMOLLM2, "--self", "--sequences", 2, "--tokens", 64)["kl"]["mean"]
        self.assertLess(loss, 0.003)


if __name__ == "__main__":
    unittest.main()
