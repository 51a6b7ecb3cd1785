"""Budgets of loss and plans that are verified: what is kept, what is said, and what is refused."""
import json
import math
import os
import unittest

from support import (MxqTest, bf16, floats, listing, read_safetensors, small_model, small_text_model,
                     write_safetensors)

TEXT = ("--calibration-tokens", "512", "--sample-tokens", "128")


class Trials(MxqTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        small_text_model(self.model)
        self.out = self.folder / "out"

    def kl(self, *options):
        return self.mxq_json("eval", self.out, "--against", self.model, "--compute", "auto", *options)["kl"]

    def test_the_smallest_checkpoint_within_a_loss(self):
        sizes = []
        for loss, text in (("5%", ()), ("0.5%", ()), ("0.02", ())):
            result = self.mxq_json("quantize", self.model, "-o", self.out, "--max-loss", loss, "--overwrite", *TEXT, *text)
            limit = math.log1p(float(loss[:-1]) / 100 if loss.endswith("%") else float(loss))
            trials = result["trials"]
            self.assertLessEqual(len(trials), 6)
            kept = [t for t in trials if t["bits_per_parameter"] == result["bits_per_parameter"]]
            self.assertEqual(len(kept), 1)
            self.assertLessEqual(kept[0]["loss"], limit)
            self.assertEqual(kept[0]["loss"], kept[0]["kl"])
            for trial in trials:
                if trial["bits_per_parameter"] < result["bits_per_parameter"]:
                    self.assertGreater(trial["loss"], limit, "a smaller one was good enough")
            sizes.append((limit, result["bytes"]))
        sizes.sort()
        self.assertEqual([s for _, s in sizes], sorted((s for _, s in sizes), reverse=True))
        self.assertEqual([p for p in listing(self.folder) if "trial" in p], [])

    def test_trials_are_made_in_the_format(self):
        result = self.mxq_json("quantize", self.model, "-o", self.out, "--format", "mlx", "--max-loss", "2%", *TEXT)
        self.assertIn("quantization", json.loads((self.out / "config.json").read_text()))
        kept = next(t for t in result["trials"] if t["bits_per_parameter"] == result["bits_per_parameter"])
        self.assertLessEqual(kept["loss"], math.log(1.02))
        self.assertEqual([p for p in listing(self.folder) if "trial" in p], [])

    def test_what_is_reported_is_what_eval_finds(self):
        text = self.folder / "text.txt"
        text.write_text("It was measured on this, and on nothing else. " * 100)
        result = self.mxq_json("quantize", self.model, "-o", self.out, "--max-loss", "2%", "--text", text, *TEXT)
        kept = next(t for t in result["trials"] if t["bits_per_parameter"] == result["bits_per_parameter"])
        found = self.kl("--text", text, "--window", 512, "--stride", 512)
        self.assertAlmostEqual(found["ln_ppl_ratio"], kept["loss"], delta=2e-3)
        self.assertAlmostEqual(found["mean"], kept["kl"], delta=1e-3)

    def test_verified(self):
        result = self.mxq_json("quantize", self.model, "-o", self.out, "--bits", "3.9", "--verify", *TEXT)
        self.assertEqual(len(result["trials"]), 2)
        best = min(result["trials"], key=lambda t: t["loss"])
        self.assertEqual(best["bits_per_parameter"], result["bits_per_parameter"])
        said = self.mxq("quantize", self.model, "-o", self.out, "--bits", "3.9", "--verify", "--overwrite", *TEXT)
        self.assertIn("verified", said)
        self.assertEqual([p for p in listing(self.folder) if "trial" in p], [])

    def test_the_uniform_plan_is_kept_where_it_is_better(self):
        # The same function with small v and up and large o and down: a plan by f2 gives all bits to the large ones.
        def scaled(name, tensor):
            dtype, shape, data = tensor
            factor = {"v_proj": 0.05, "up_proj": 0.05, "o_proj": 20, "down_proj": 20}.get(name.split(".")[-2], 1)
            return dtype, shape, bf16(factor * x for x in floats(tensor)) if factor != 1 else data

        path = self.model / "model.safetensors"
        write_safetensors(path, {n: scaled(n, t) for n, t in read_safetensors(path).items()})
        result = self.mxq_json("quantize", self.model, "-o", self.out, "--bits", "b3g32", "--verify", "--objective", "f2",
                               *TEXT[2:])
        mixed, uniform = result["trials"]
        self.assertLess(uniform["loss"], mixed["loss"])
        self.assertEqual({m["scheme"] for m in result["matrices"].values()}, {"b3g32"})

    def test_bad_input(self):
        def refused(*options, says, status=2):
            self.refuses("quantize", self.model, "-o", self.out, *options, *TEXT, says=says, status=status)

        refused("--max-loss", "5", says=("--max-loss", "'5'", "5% or 0.05"))
        for wrong in ("0", "-1%", "nan", "inf", "1%%", "%", "lots", "1", "1e400"):
            refused("--max-loss", wrong, says=("--max-loss", f"'{wrong}'"))
        refused("--max-loss", "1%", "--bits", "4", says="more than one")
        refused("--max-loss", "1%", "--objective", "rel", says="objective rel")
        refused("--uniform", "b4g64", "--verify", says="--verify")
        refused("--bits", "4", "--text", "x.txt", says="--text")
        before = listing(self.folder)
        done = self.run_mxq("quantize", self.model, "-o", self.out, "--max-loss", "0.0001%", "--schemes", "b2g64,b2g128",
                            *TEXT)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.splitlines()[-1], "^mxq: error: --max-loss: a perplexity at most .*% higher; expected at least .* %, what it is with the largest plan")
        self.assertEqual(listing(self.folder), before)
        refused("--max-loss", "1%", "--text", self.folder / "absent.txt", says="absent.txt", status=1)
        self.assertFalse(self.out.exists())

    def test_what_exists_stays_unless_it_may_be_replaced(self):
        self.out.mkdir()
        (self.out / "mine.txt").write_text("mine")
        self.refuses("quantize", self.model, "-o", self.out, "--max-loss", "5%", *TEXT, status=2, says="--overwrite")
        self.assertEqual(os.listdir(self.out), ["mine.txt"])
        self.refuses("quantize", self.model, "-o", self.out, "--max-loss", "5%", "--overwrite", *TEXT, status=2, says="mine.txt")
        (self.out / "mine.txt").unlink()
        self.mxq("quantize", self.model, "-o", self.out, "--max-loss", "5%", "--overwrite", *TEXT)
        self.assertIn("mxq-plan.json", os.listdir(self.out))

    def test_a_model_that_cannot_be_run(self):
        model = self.folder / "falcon"
        small_model(model, config={"model_type": "falcon"})
        self.refuses("quantize", model, "-o", self.out, "--max-loss", "1%", status=2,
                     says=("--max-loss", "cannot be run", "falcon"))
        self.refuses("quantize", model, "-o", self.out, "--bits", "4", "--verify", status=2,
                     says=("--verify", "cannot be run", "falcon"))

    def test_nothing_asked_for_is_passed_over(self):
        plan = self.folder / "plan.json"
        self.mxq("plan", self.model, "--bits", "4", "-o", plan, *TEXT)
        for options in (("--fit", "rtn"), ("--pin", "q_proj=b8g32"), ("--skip", "mlp"), ("--no-embeddings",)):
            self.refuses("quantize", self.model, "-o", self.out, "--plan", plan, *options, status=2,
                         says=(options[0].replace("--no-", "--"), "has no effect with --plan"))
        for options in (("--schemes", "paper"), ("--min-bits", "3"), ("--objective", "kl"), ("--tie", "qkv")):
            self.refuses("quantize", self.model, "-o", self.out, "--uniform", "b4g64", *options, status=2,
                         says=f"{options[0]} has no effect with --uniform")

    def test_what_a_killed_search_left_goes(self):
        for left, files in ((".out.trial0", "1 - model.safetensors\n"), (".out.trial1", "1 - model.safetensors\n"),
                            ("..out.trial2.partial", "key 1\nmodel.safetensors\n")):
            (self.folder / left).mkdir()
            (self.folder / left / "model.safetensors").write_bytes(b"x")
            (self.folder / left / ".mxq-files").write_text("mxq files 1\n" + files)
        self.mxq("quantize", self.model, "-o", self.out, "--bits", "4", "--verify", *TEXT)
        self.assertEqual([p for p in listing(self.folder) if "trial" in p], [])


if __name__ == "__main__":
    unittest.main()
