"""Fits that look at activations: on text of the model's own and on a file's."""
import json
import re
import unittest

from support import (MxqTest, bf16, floats, read_folder, read_safetensors, small_model, small_text_model,
                     write_safetensors)

TEXT = ("--calibration-tokens", "512", "--sample-tokens", "256")
SELF = ("--fit", "gptq", *TEXT)
FILE = ("--fit", "gptq", *TEXT[:2])  # nothing is sampled


class Calibrated(MxqTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        # Three shards: tensors come in another order than layers do.
        small_text_model(self.model, shards=3)

    def quantize(self, name, *options):
        out = self.folder / name
        return self.mxq_json("quantize", self.model, "-o", out, *options), read_folder(out)

    def test_loses_less_than_weights_alone(self):
        for normalize in ("none", "columns", "rotation"):
            kl = {}
            for fit in ("mse", "gptq"):
                out = self.folder / f"{fit}-{normalize}"
                text = ("--calibration-tokens", 4096, "--sample-tokens", 256) if fit == "gptq" else ()
                self.mxq("quantize", self.model, "-o", out, "--uniform", "b2g64", "--fit", fit, "--normalize",
                         normalize, *text)
                kl[fit] = self.mxq_json("eval", out, "--against", self.model, "--self", "--tokens", 100)["kl"]["mean"]
            self.assertLess(kl["gptq"], 0.9 * kl["mse"], normalize)

    def test_same_bytes_whatever_the_threads_and_the_cache(self):
        options = ("--bits", "3.25", "--normalize", "columns", *SELF)
        plan, tensors = self.quantize("one", *options, "--threads", 1)
        self.assertEqual(plan["calibration"], {"text": "self", "sequences": 8, "tokens": 64, "temperature": 1.0,
                                               "top_p": 1.0, "seed": 0, "damping": 0.01, "zero_point": "real",
                                               "column_order": "left", "token_weights": "even", "shrinkage": 0.1,
                                               "sweeps": 3, "correction": 0})
        self.assertEqual(plan["quantize"]["fit"], "gptq")
        for name, more in (("cached", ()), ("anew", ("--no-cache",))):
            again, same = self.quantize(name, *options, *more)
            self.assertEqual(same, tensors, name)
            self.assertEqual(again["matrices"], plan["matrices"], name)
        other, _ = self.quantize("seed", *options, "--sample-seed", 3)
        self.assertEqual(other["calibration"]["seed"], 3)

    def test_damping_is_raised_where_second_moments_need_it(self):
        # Fewer tokens than columns, so the second moments are singular.
        done = self.run_mxq("quantize", self.model, "-o", self.folder / "singular", "--uniform", "b3g64", "--fit", "gptq",
                            "--calibration-tokens", 8, "--sample-tokens", 16, "--damping", 0, "--shrinkage", 0)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr.count("not positive definite with a damping of 0"), 1, done.stderr)

    def test_gptq_as_others_publish_it(self):
        plan, tensors = self.quantize("published", "--uniform", "b4g64", "--fit", "autogptq", "--sample-tokens", 256,
                                      "--calibration-tokens", 512)
        self.assertEqual(plan["quantize"], {"fit": "gptq", "axis": 1, "metadata": "f16", "normalize": "none"})
        self.assertEqual((plan["calibration"]["zero_point"], plan["calibration"]["column_order"]), ("symmetric", "diagonal"))
        for name in plan["matrices"]: self.assertEqual(set(floats(tensors[name + ".zeros"])), {8.0})
        plan, tensors = self.quantize("integer", "--uniform", "b3g64", *SELF, "--zero-point", "integer", "--metadata", "f16",
                                      "--normalize", "none")
        for name in plan["matrices"]:
            self.assertLessEqual(set(floats(tensors[name + ".zeros"])), set(map(float, range(8))))

    def test_weights_on_a_grid_stay_there_whatever_is_made_up_for(self):
        # The matrices before them have lost something, which --correction would move these weights for.
        gridded, out, back = self.folder / "gridded", self.folder / "out", self.folder / "back"
        self.quantize("coarse", "--uniform", "b4g32", "--fit", "mse", "--normalize", "none")
        self.mxq("dequantize", self.folder / "coarse", "-o", gridded)
        plan = self.mxq_json("quantize", gridded, "-o", out, "--bits", "3.5", "--schemes", "b2g64,b4g32", "--normalize",
                             "rotation", *SELF, "--correction", 0.5)
        self.assertEqual({m["scheme"] for m in plan["matrices"].values()}, {"b2g64", "b4g32"})
        self.mxq("dequantize", out, "-o", back)
        original, made = read_folder(gridded), read_folder(back)
        for name, matrix in plan["matrices"].items():
            weights, others = floats(original[name + ".weight"]), floats(made[name + ".weight"])
            lost = sum((a - b) ** 2 for a, b in zip(weights, others)) / sum(a * a for a in weights)
            (self.assertLess if matrix["scheme"] == "b4g32" else self.assertGreater)(lost, 1e-3, name)

    def test_columns_in_another_order(self):
        _, left = self.quantize("left", "--uniform", "b3g64", *SELF)
        plan, diagonal = self.quantize("diagonal", "--uniform", "b3g64", *SELF, "--column-order", "diagonal",
                                       "--damping", 0.05)
        self.assertEqual((plan["calibration"]["column_order"], plan["calibration"]["damping"]), ("diagonal", 0.05))
        self.assertNotEqual(diagonal, left)

    def test_a_plan_carries_its_calibration(self):
        plan = self.folder / "plan.json"
        self.mxq("plan", self.model, "--bits", "3.25", *SELF, "-o", plan)
        _, by_plan = self.quantize("by-plan", "--plan", plan)
        _, directly = self.quantize("directly", "--bits", "3.25", *SELF)
        self.assertEqual(by_plan, directly)
        made = json.loads(plan.read_text())
        made["calibration"]["text"] = "none"
        plan.write_text(json.dumps(made))
        self.refuses("quantize", self.model, "-o", self.folder / "out", "--plan", plan, status=2,
                     says="fit gptq without a text")
        made["calibration"]["text"] = "radio"
        plan.write_text(json.dumps(made))
        self.refuses("quantize", self.model, "-o", self.folder / "out", "--plan", plan, status=1, says=("plan.json", "'calibration.text' is 'radio'"))

    def test_text_of_a_file(self):
        text = self.folder / "text.txt"
        text.write_text("What the model should be good at. " * 60)
        plan, tensors = self.quantize("file", "--uniform", "b3g32", *FILE, "--calibration", text)
        self.assertEqual(plan["calibration"]["file"], str(text))
        _, own = self.quantize("self", "--uniform", "b3g32", *SELF)
        _, weighted = self.quantize("weighted", "--uniform", "b3g32", *TEXT[:2], "--fit", "mse", "--calibration", text)
        _, plain = self.quantize("plain", "--uniform", "b3g32", "--fit", "mse")
        name = "model.layers.1.mlp.down_proj.codes"
        self.assertEqual(len({tensors[name][2], own[name][2], weighted[name][2], plain[name][2]}), 4)

    def test_a_short_file_is_used_up_and_reported(self):
        text = self.folder / "text.txt"
        text.write_text("What the model should be good at. " * 60)
        done = self.run_mxq("quantize", self.model, "-o", self.folder / "out", "--uniform", "b3g32", "--fit", "gptq",
                            "--calibration", text)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("text.txt has 2040 tokens: calibrated on 5 of 48 sequences of 384", done.stderr)

    def test_uniform_schemes_of_other_families(self):
        out = self.folder / "out"
        # What error feedback can code gets it, as affine schemes do; the rest is as others publish it.
        for scheme, fit, normalize in (("gauss3g64", "gptq", "rotation"), ("km3g64", "gptq", "rotation"),
                                       ("nf4g64", "rtn", "none")):
            plan, _ = self.quantize(scheme, "--uniform", scheme, *(TEXT if fit == "gptq" else ()))
            self.assertEqual((plan["quantize"]["fit"], plan["quantize"]["normalize"]), (fit, normalize), scheme)
        for scheme, fit in (("nf4g64", "gptq"), ("fp4g64", "hqq"), ("gauss3g64", "awq"), ("km3g64", "hqq")):
            self.refuses("quantize", self.model, "-o", out, "--uniform", scheme, "--fit", fit, status=2,
                         says=(scheme, f"with the fit {fit}", "rtn or mse"))

    def test_a_size_holds_what_awq_folds(self):
        # Norms are stored in F32 then, and so are matrices that are scaled without being quantized.
        for size, more in ((90_000, ()), (160_000, ("--skip", "up_proj|layers.1.self_attn.q_proj"))):
            plan, _ = self.quantize("out", "--size", f"{size}B", "--fit", "awq", *TEXT, "--overwrite", *more)
            written = sum(of for name, of in plan["files"].items() if name.endswith(".safetensors"))
            self.assertLessEqual(written, size)
            self.assertGreater(written, 0.9 * size)

    def test_output_matrix_is_fitted_to_the_last_hidden_states(self):
        # Which differ in size from column to column.
        self.model = self.folder / "uneven"
        small_text_model(self.model)
        tensors = read_safetensors(self.model / "model.safetensors")
        tensors["model.norm.weight"] = ("BF16", (64,), bf16([0.1] * 48 + [3.0] * 16))
        write_safetensors(self.model / "model.safetensors", tensors)
        method = ("--uniform", "b3g32", "--embeddings", "--normalize", "none")
        plan, fitted = self.quantize("fitted", *method, *SELF)
        _, by_weights = self.quantize("by-weights", *method, "--fit", "mse")
        self.assertEqual(len(plan["matrices"]), 16)
        self.assertEqual(fitted["model.embed_tokens.codes"], by_weights["model.embed_tokens.codes"], "only looked up")
        only = ("--uniform", "b3g32", "--embeddings", "--normalize", "none", "--skip", "layers|embed")
        self.quantize("head", *only, *SELF)
        self.quantize("head-by-weights", *only, "--fit", "mse")
        kl = [self.mxq_json("eval", self.folder / out, "--against", self.model, "--self", "--tokens", 100)["kl"]["mean"]
              for out in ("head", "head-by-weights")]
        self.assertLess(kl[0], 0.9 * kl[1])

    def test_sensitivity_predicts_what_quantizing_one_matrix_costs(self):
        table = self.folder / "errors.csv"
        method = ("--fit", "mse", "--normalize", "none", "--embeddings")
        self.mxq("measure", self.model, "--sensitivity", "-o", table, *method, "--sample-tokens", 512)
        header, *rows = (line.split(",") for line in table.read_text().splitlines())
        at = {name: i for i, name in enumerate(header)}
        predicted = {row[at["matrix"]]: float(row[at["sensitivity"]]) * float(row[at["fnorm"]]) ** 2
                     for row in rows if row[at["scheme"]] == "b3g64"}
        for name in ("model.embed_tokens", "lm_head", "model.layers.0.mlp.down_proj"):
            out = self.folder / name
            self.mxq("quantize", self.model, "-o", out, "--uniform", "b3g64", *method, "--skip", f"^(?!{name})")
            kl = self.mxq_json("eval", out, "--against", self.model, "--self", "--tokens", 500)["kl"]["mean"]
            self.assertGreater(kl, 1e-5)
            self.assertLess(abs(predicted[name] / kl - 1), 0.4, (name, predicted[name], kl))

    def test_awq(self):
        kl = {}
        for fit in ("rtn", "awq"):
            out = self.folder / fit
            more = TEXT if fit == "awq" else ()
            plan = self.mxq_json("quantize", self.model, "-o", out, "--uniform", "b2g64", "--fit", fit, *more)
            self.assertEqual(plan["quantize"], {"fit": fit, "axis": 1, "metadata": "q8", "normalize": "none"})
            kl[fit] = self.mxq_json("eval", out, "--against", self.model, "--self", "--tokens", 100)["kl"]["mean"]
        self.assertLess(kl["awq"], kl["rtn"])
        self.assertEqual(plan["calibration"]["text"], "self")
        _, one = self.quantize("one", "--uniform", "b3g64", "--fit", "awq", *TEXT, "--threads", 1)
        _, all_ = self.quantize("all", "--uniform", "b3g64", "--fit", "awq", *TEXT)
        self.assertEqual(one, all_)
        # Norms hold the scales of what they feed, with all digits. Some scales may be 1: which depends on the text.
        original = read_folder(self.model)
        norms = [name for name in original if re.fullmatch(r"model\.layers\.\d+\.\w+_layernorm\.weight", name)]
        for name in norms: self.assertEqual(one[name][0], "F32", name)
        self.assertTrue(any(list(floats(one[name])) != list(floats(original[name])) for name in norms))
        # A plan by sensitivities, and a matrix left out, which is scaled all the same.
        plan, tensors = self.quantize("planned", "--bits", "4", "--fit", "awq", *TEXT, "--skip", "up_proj")
        self.assertEqual(tensors["model.layers.0.mlp.up_proj.weight"][0], "F32")
        loss = self.mxq_json("eval", self.folder / "planned", "--against", self.model, "--self", "--tokens", 100)["kl"]["mean"]
        self.assertLess(loss, kl["awq"])

    def test_bad_input(self):
        out = self.folder / "out"

        def refused(*options, says, status=2):
            self.refuses("quantize", self.model, "-o", out, "--uniform", "b4g64", *options, says=says, status=status)

        refused("--fit", "gptq", "--calibration", "none", says="fit gptq without a text")
        refused("--fit", "gptq", "--axis", 0, says="axis 0")
        refused("--fit", "hqq", "--calibration", "self", says="fit hqq")
        refused("--fit", "magic", says="'magic'")
        refused("--fit", "awq", "--calibration", "none", says="fit awq without a text")
        refused("--fit", "awq", "--normalize", "columns", says="fit awq with normalization columns")
        refused(*SELF, "--zero-point", "none", says=("'none'", "real, integer, symmetric"))
        refused(*SELF, "--column-order", "right", says=("'right'", "left, diagonal"))
        refused(*SELF, "--damping", -1, says="--damping")
        refused(*FILE, "--calibration", self.folder / "absent.txt", says="absent.txt", status=1)
        text = self.folder / "short.txt"
        text.write_text("Too short.")
        refused(*FILE, "--calibration", text, says=("short.txt", "10 tokens", "at least 384"))
        text.write_bytes(b"\xff" * 4000)
        refused(*FILE, "--calibration", text, says="UTF-8", status=1)

    def test_text_that_repeats_itself_is_drawn_anew_and_reported(self):
        # Every token has the same embedding, and the head answers it with one token: nothing else is ever said.
        path = self.folder / "loop"
        small_text_model(path)
        tensors = read_safetensors(path / "model.safetensors")
        _, (vocab, hidden), _ = tensors["model.embed_tokens.weight"]
        ones, head = [1.0] * (vocab * hidden), [0.0] * (vocab * hidden)
        head[65 * hidden:66 * hidden] = [1.0] * hidden
        tensors["model.embed_tokens.weight"] = ("BF16", (vocab, hidden), bf16(ones))
        tensors["lm_head.weight"] = ("BF16", (vocab, hidden), bf16(head))
        write_safetensors(path / "model.safetensors", tensors)
        for command in (["quantize", path, "-o", self.folder / "looped", "--uniform", "b4g64", *SELF],
                        ["measure", path, "--sensitivity", "-o", self.folder / "errors.csv", *TEXT]):
            done = self.run_mxq(*command)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stderr, "12 of 12 texts that the model sampled repeated themselves and were drawn anew; "
                                          "12 still do")
        done = self.run_mxq("quantize", self.model, "-o", self.folder / "out", "--uniform", "b4g64", *SELF)
        self.assertNotIn("repeated", done.stderr)

    def test_a_model_that_cannot_be_run(self):
        model = self.folder / "falcon"
        small_model(model, config={"model_type": "falcon"})
        self.refuses("quantize", model, "-o", self.folder / "out", "--uniform", "b4g64", "--fit", "gptq",
                     says=("falcon", "llama"))


if __name__ == "__main__":
    unittest.main()
