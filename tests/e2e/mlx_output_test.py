"""Plans made for MLX: a folder of the bytes that the plan promises, as mlx-lm loads it, which is read back as the model."""
import json
import unittest

from folder_formats import DOWN, FAST, FolderFormatTest, header_bytes
from support import SMOLLM2, MxqTest, needs_smollm2, read_folder, small_model


class MlxOutput(FolderFormatTest):
    FORMAT = "mlx"

    def test_bytes_are_those_of_the_plan(self):
        small_model(self.model)
        plan = self.quantize("--bits", 5, *FAST)
        self.assertEqual(plan["format"], "mlx")
        stored = read_folder(self.out)
        planned = sum(m["bytes"] for m in plan["matrices"].values())
        self.assertEqual(len(plan["matrices"]), 16)  # embedding and output matrix too
        self.assertEqual(planned, plan["bytes"])
        for name, matrix in plan["matrices"].items():
            self.assertEqual(sum(len(stored[f"{name}.{part}"][2]) for part in ("weight", "scales", "biases")), matrix["bytes"], name)
        file = self.out / "model.safetensors"
        norms = sum(len(t[2]) for name, t in stored.items() if "norm" in name)
        self.assertEqual(file.stat().st_size, header_bytes(file) + planned + norms)
        self.assertEqual(plan["files"]["model.safetensors"], file.stat().st_size)

    def test_a_size_is_that_of_the_file(self):
        small_model(self.model)
        size = 50_000
        self.quantize("--size", size, *FAST)
        self.assertLessEqual((self.out / "model.safetensors").stat().st_size, size)
        self.assertGreater((self.out / "model.safetensors").stat().st_size, 0.9 * size)

    def test_the_folder_is_what_mlx_lm_looks_for(self):
        small_model(self.model)
        plan = self.quantize("--bits", 5, *FAST, *DOWN)
        config = json.loads((self.out / "config.json").read_text())
        self.assertEqual(config["quantization"], config["quantization_config"])
        self.assertEqual((config["quantization"]["mode"], config["torch_dtype"]), ("affine", "bfloat16"))
        stored = read_folder(self.out)
        for name, matrix in plan["matrices"].items():
            bits, group = map(int, matrix["scheme"][1:].split("g"))
            self.assertEqual(config["quantization"][name], {"group_size": group, "bits": bits})
            rows, cols = (96 if "embed" in name or "head" in name else stored[f"{name}.weight"][1][0]), 64
            self.assertEqual(stored[f"{name}.weight"][:2], ("U32", [rows, cols * bits // 32]))
            self.assertEqual(stored[f"{name}.scales"][:2], ("BF16", [rows, cols // group]))
            self.assertEqual(stored[f"{name}.biases"][:2], ("BF16", [rows, cols // group]))
        self.assertIs(config["quantization"]["model.layers.0.mlp.down_proj"], False)
        self.assertEqual(stored["model.layers.0.mlp.down_proj.weight"][0], "BF16")
        header = json.loads((self.out / "model.safetensors").read_bytes()[8:header_bytes(self.out / "model.safetensors")])
        self.assertEqual(header["__metadata__"], {"format": "mlx"})

    def test_float_dtype_is_the_models_own_or_the_one_asked_for(self):
        small_model(self.model, dtype="F16")
        self.quantize("--uniform", "b4g32", "--fit", "mse")
        self.assertEqual({t[0] for t in read_folder(self.out).values()}, {"U32", "F16"})
        self.quantize("--uniform", "b4g32", "--fit", "mse", "--metadata", "bf16-bias", "--overwrite")
        self.assertEqual({t[0] for t in read_folder(self.out).values()}, {"U32", "BF16"})

    def test_comes_back_as_a_model(self):
        small_model(self.model)
        self.quantize("--uniform", "b8g32", "--fit", "mse")
        report = self.mxq_json("inspect", self.out)
        self.assertEqual({m["dtype"] for m in report["matrices"]}, {"b8g32"})
        self.mxq("dequantize", self.out, "-o", self.folder / "back", "--dtype", "f32")
        back, first = read_folder(self.folder / "back"), read_folder(self.model)
        self.assertEqual(set(back), set(first))
        self.assertNotIn("quantization", json.loads((self.folder / "back/config.json").read_text()))
        # And into another folder for MLX, from what it holds.
        again = self.mxq_json("quantize", self.out, "--format", "mlx", "--uniform", "b4g32", "--fit", "mse", "-o", self.folder / "again")
        self.assertEqual(again["format"], "mlx")

    def test_a_plan_file_is_carried_out_in_its_format(self):
        small_model(self.model)
        plan = self.folder / "plan.json"
        self.mxq("plan", self.model, "--format", "mlx", "--bits", 5, *FAST, "-o", plan)
        self.assertEqual(json.loads(plan.read_text())["quantize"]["metadata"], "bf16-bias")
        done = self.mxq_json("quantize", self.model, "--plan", plan, "-o", self.out)
        self.assertEqual(done["format"], "mlx")
        self.assertIn("model.norm.weight", read_folder(self.out))

    def test_what_is_there_stays(self):
        self.check_that_what_is_there_stays()

    def test_what_the_format_has_no_place_for_is_refused_by_name(self):
        small_model(self.model)
        refuses = self.refuses_options
        refuses("--bits", 5, *FAST, "--normalize", "rotation", says=("--normalize", "rotation for the format mlx"))
        refuses("--bits", 5, *FAST, "--schemes", "gauss3g64", says=("--schemes", "gauss3g64 for the format mlx", "b8"))
        refuses("--bits", 5, *FAST, "--schemes", "q4_k", says=("--schemes", "q4_k for the format mlx"))
        refuses("--bits", 5, *FAST, "--metadata", "q8", says=("--metadata", "q8 for the format mlx", "f16-bias"))
        refuses("--bits", 5, *FAST, "--axis", 0, says="0 for the format mlx")
        refuses("--bits", 5, "--fit", "awq", says=("--fit", "awq for the format mlx"))
        refuses("--uniform", "b4g64", "--fit", "mse", status=1, says=("down_proj", "--skip"))
        refuses("--size", "1KiB", *FAST, status=1, says=("--size", "at least"))

    def test_models_that_mlx_lm_has_not_are_refused_by_name(self):
        small_model(self.model, config={"model_type": "gpt_neox", "rope_scaling": None})
        self.refuses("quantize", self.model, "--format", "mlx", "--bits", 5, *FAST, "-o", self.out, says=("write mlx", "gpt_neox", "llama"))

    def test_folders_of_other_modes_are_refused_by_name(self):
        small_model(self.model)
        self.quantize("--uniform", "b4g32", "--fit", "mse")
        config = json.loads((self.out / "config.json").read_text())
        config["quantization"]["lm_head"] = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
        (self.out / "config.json").write_text(json.dumps(config))
        self.refuses("inspect", self.out, says=("lm_head", "mxfp4", "affine"))


@needs_smollm2
class RealModel(MxqTest):
    def test_eight_bits_are_nearly_the_model(self):
        out = self.folder / "eight"
        plan = self.mxq_json("quantize", SMOLLM2, "--format", "mlx", "--uniform", "b8g64", "--fit", "mse", "-o", out)
        self.assertEqual(len(plan["matrices"]), 211)
        loss = self.mxq_json("eval", out, "--against", SMOLLM2, "--self", "--sequences", 2, "--tokens", 64)["kl"]["mean"]
        self.assertLess(loss, 0.003)


if __name__ == "__main__":
    unittest.main()
