"""mxq plan: on models, and on the authors' error tables with their published objectives."""
import csv
import json
import math
import random
import unittest

from support import SHARED, MxqTest, needs_shared, small_model, small_text_model


def table(path, matrices, seed, params=4096):
    """An error table in the authors' columns; errors fall with bytes, at random speed."""
    rng = random.Random(seed)
    rows = []
    for i in range(matrices):
        loss = rng.uniform(1, 10)
        for bits in (2, 3, 4, 8):
            for group in (32, 64, 128):
                bpp = bits + 16 / group + 32 / (128 * group)
                rows.append([i, "mlp.up_proj", bits, group, 8, 128, loss * 2**-bits * group**0.2,
                             params * bpp / 8 / 2**20, params])
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("layer,module,nbit1,gsize1,nbit2,gsize2,fnorm,memmb,params".split(","))
        writer.writerows(rows)


class Plan(MxqTest):
    def test_documented_json(self):
        small_model(self.folder / "model")
        plan = self.mxq_json("plan", self.folder / "model", "--bits", "3.25", "-o", self.folder / "plan.json")
        self.assertLessEqual(
            {"objective", "bits_per_parameter", "bytes", "budget_bytes", "seconds", "solver", "best_uniform", "matrices"},
            set(plan))
        self.assertLessEqual({"kind", "value", "lower_bound", "gap"}, set(plan["objective"]))
        self.assertEqual(plan["objective"]["gap"], 0)
        self.assertEqual(plan["solver"], "exact")
        self.assertEqual(plan["bytes"], sum(m["bytes"] for m in plan["matrices"].values()))
        self.assertLessEqual(plan["bytes"], plan["budget_bytes"])
        self.assertEqual(json.loads((self.folder / "plan.json").read_text())["matrices"], plan["matrices"])

    def test_never_worse_than_the_best_uniform(self):
        small_model(self.folder / "model")
        for objective in ("rel", "f2", "f"):
            for scheme in ("b2g32", "b3g64", "b4g64", "b8g32"):
                plan = self.mxq_json("plan", self.folder / "model", "--bits", scheme, "--objective", objective)
                self.assertLessEqual(plan["objective"]["value"], plan["best_uniform"]["objective"] * (1 + 1e-12))

    def test_objective_kl(self):
        model = self.folder / "model"
        small_text_model(model)
        options = ("--bits", "3.25", "--sample-tokens", 64)
        plan = self.mxq_json("plan", model, *options)
        self.assertEqual(plan["objective"]["kind"], "kl")
        self.assertLessEqual(plan["objective"]["value"], plan["best_uniform"]["objective"] * (1 + 1e-12)
                             if plan["best_uniform"] else math.inf)
        # The same from an error table with sensitivities, and from the cache.
        done = self.run_mxq("measure", model, "--sensitivity", "--sample-tokens", 64, "-o", self.folder / "errors.csv")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("what b3g64 in each of 14 matrices does to 64 tokens of the model's own (14 known", done.stderr)
        again = self.mxq_json("plan", "--errors", self.folder / "errors.csv", "--bits", "3.25")
        self.assertEqual(again["objective"]["kind"], "kl")
        self.assertEqual(again["matrices"], plan["matrices"])
        rows = list(csv.DictReader((self.folder / "errors.csv").read_text().splitlines()))
        for row in rows:
            self.assertGreater(float(row["sensitivity"]), 0)
        # Predicted: the sum of sensitivity times squared error.
        costs = {(r["matrix"], r["scheme"]): float(r["sensitivity"]) * float(r["fnorm"]) ** 2 for r in rows}
        self.assertAlmostEqual(sum(costs[name, m["scheme"]] for name, m in plan["matrices"].items()),
                               plan["objective"]["value"], delta=1e-9)
        other = self.mxq_json("plan", model, *options, "--sample-seed", 1)
        self.assertNotEqual(other["objective"]["value"], plan["objective"]["value"])
        self.refuses("plan", model, "--bits", "1", "--sample-tokens", 64, says=("expected at least", "bits per parameter"))

    def test_a_model_that_cannot_be_run_is_planned_by_rel(self):
        small_model(self.folder / "model", config={"hidden_act": "gelu"})
        done = self.run_mxq("plan", self.folder / "model", "--bits", "3.25", "--json")
        self.assertEqual(json.loads(done.stdout)["objective"]["kind"], "rel")
        self.assertIn("objective rel instead of kl and fit mse instead of gptq, for the model cannot be run", done.stderr)
        self.refuses("plan", self.folder / "model", "--bits", "3.25", "--objective", "kl", says="hidden_act")

    def test_a_missing_tokenizer_takes_nothing_from_a_plan(self):
        small_model(self.folder / "model")
        done = self.run_mxq("plan", self.folder / "model", "--bits", "4", "--json", "--sample-tokens", "64",
                            "--calibration-tokens", "256")
        self.assertEqual(json.loads(done.stdout)["objective"]["kind"], "kl", done.stderr)
        self.assertIn("tokenizer", done.stderr)

    def test_a_rotary_embedding_that_is_not_known(self):
        model = self.folder / "model"
        small_text_model(model)
        config = json.loads((model / "config.json").read_text())
        config["rope_scaling"] = {"rope_type": "ntk", "factor": 4.0}
        (model / "config.json").write_text(json.dumps(config))
        done = self.run_mxq("plan", model, "--bits", "3.25", "--json")
        self.assertEqual(json.loads(done.stdout)["objective"]["kind"], "rel")
        self.assertRegex(done.stderr, "^mxq: objective rel .*cannot be run.*'rope_scaling' of type \"ntk\".*linear, llama3")

    def test_an_error_table_is_for_what_it_was_measured_with(self):
        model, errors = self.folder / "model", self.folder / "errors.csv"
        small_text_model(model)
        self.mxq("measure", model, "--fit", "rtn", "--normalize", "columns", "--metadata", "f16", "-o", errors)
        plan = self.mxq_json("plan", "--errors", errors, "--bits", "3.5")
        self.assertEqual(plan["quantize"], {"fit": "rtn", "axis": 1, "metadata": "f16", "normalize": "columns"})
        self.refuses("plan", "--errors", errors, "--bits", "3.5", "--fit", "mse", status=2,
                     says="--fit: mse for an error table of rtn")
        lines = errors.read_text().splitlines()
        errors.write_text("\n".join([*lines[:-1], lines[-1].replace("rtn", "mse")]))
        self.refuses("plan", "--errors", errors, "--bits", "3.5", says=("'fit'", "another method"))

    def test_bits_of_any_scheme(self):
        small_model(self.folder / "model")
        for scheme in ("gauss3g64", "nf4g64", "km2g32"):
            plan = self.mxq_json("plan", self.folder / "model", "--bits", scheme, "--schemes", f"wide,{scheme}")
            self.assertEqual(plan["best_uniform"]["bytes"] <= plan["budget_bytes"], True, scheme)
            uniform = self.mxq_json("plan", self.folder / "model", "--bits", scheme, "--schemes", scheme)
            self.assertEqual({m["scheme"] for m in uniform["matrices"].values()}, {scheme})
            self.assertEqual(uniform["budget_bytes"], plan["budget_bytes"])
        self.refuses("plan", self.folder / "model", "--bits", "b9g64", status=2, says=("b9g64", "b4g64", "nf4g64"))

    def test_pin_min_bits_and_ties(self):
        small_model(self.folder / "model")
        plan = self.mxq_json("plan", self.folder / "model", "--bits", "4.6", "--pin", r"layers\.0\..*q_proj=b8g32",
                             "--min-bits", "3", "--tie", "gate_up")
        schemes = {name: m["scheme"] for name, m in plan["matrices"].items()}
        self.assertEqual(schemes["model.layers.0.self_attn.q_proj"], "b8g32")
        self.assertFalse([s for s in schemes.values() if s.startswith("b2")])
        for i in range(2):
            self.assertEqual(schemes[f"model.layers.{i}.mlp.gate_proj"], schemes[f"model.layers.{i}.mlp.up_proj"])

    def test_vram_counts_cache_and_reserve(self):
        small_model(self.folder / "model")
        # K and V in fp16: 2 layers x 2 heads x 16 x 2 x 2 bytes a token.
        norms, embeddings = 2 * (64 + 4 * 64), 2 * 2 * 96 * 64
        for context in (10, 50):
            for options, plain in (((), norms), (("--no-embeddings",), norms + embeddings)):
                plan = self.mxq_json("plan", self.folder / "model", "--vram", "300KB", "--context", context, "--reserve",
                                     "100KB", *options)
                self.assertEqual(plan["budget_bytes"], 200_000 - plain - context * 2 * 2 * 16 * 2 * 2)

    def test_context_beyond_the_model_warns(self):
        small_model(self.folder / "model")  # made for 128 tokens
        for context, warns in ((128, False), (129, True)):
            done = self.run_mxq("plan", self.folder / "model", "--vram", "1MiB", "--context", context, "--reserve", "1KiB")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual("beyond the 128 tokens" in done.stderr, warns, done.stderr)

    def test_frontier(self):
        table(self.folder / "errors.csv", 5, seed=3)
        self.mxq("plan", "--errors", self.folder / "errors.csv", "--frontier", self.folder / "frontier.csv", "--grid", "50")
        rows = list(csv.DictReader(open(self.folder / "frontier.csv")))
        self.assertGreaterEqual(len(rows), 50)
        sizes = [int(r["bytes"]) for r in rows]
        losses = [float(r["objective"]) for r in rows]
        self.assertEqual(sizes, sorted(sizes))
        self.assertEqual(losses, sorted(losses, reverse=True))
        self.assertEqual({r["convex"] for r in rows}, {"0", "1"})

    def test_unreachable_budget_names_the_smallest(self):
        table(self.folder / "errors.csv", 5, seed=3)
        line = self.refuses("plan", "--errors", self.folder / "errors.csv", "--bits", "1.5")
        smallest = 5 * 4096 * (2 + 16 / 128 + 32 / (128 * 128)) / 8
        self.assertIn(str(int(smallest)), line)

    @needs_shared
    def test_authors_objectives(self):
        errors = SHARED / "data/mxq-paper/fnorm-Llama-2-7b-hf.csv"
        # Found by scipy's HiGHS and published by the authors.
        for bits, objective in ((3.07, 4955.039), (3.25, 4195.602), (4.25, 1965.410), (4.51, 1685.407), (5.72, 953.241)):
            plan = self.mxq_json("plan", "--errors", errors, "--bits", bits, "--objective", "f")
            self.assertLessEqual(plan["objective"]["value"], objective * (1 + 1e-6))
            self.assertEqual(plan["objective"]["gap"], 0)
            self.assertIn("0.self_attn.q_proj", plan["matrices"])


if __name__ == "__main__":
    unittest.main()
