"""Nothing that is asked for is passed over: an option that has no effect in what a command does is refused by name."""
import csv
import json
import unittest

from support import MxqTest, small_text_model
from plan_test import table

PROBES = ("--sample-tokens", 64, "--calibration-tokens", 64)
REL = ("--objective", "rel")
#: A value for each option that takes one.
VALUES = {"--schemes": "paper", "--fit": "rtn", "--axis": "1", "--metadata": "q8", "--normalize": "none",
          "--calibration": "self", "--calibration-tokens": 64, "--damping": 0.1, "--column-order": "left",
          "--zero-point": "real", "--skip": "mlp", "--sample-tokens": 64, "--sample-seed": 1, "--objective": "rel",
          "--solver": "exact", "--pin": "q_proj=b8g32", "--min-bits": 3, "--tie": "qkv", "--context": 8,
          "--reserve": "1KiB", "--text": "t.txt", "--grid": 5, "--seed": 3, "--top-p": 0.5, "--store": "s.db",
          "--introduction": "i.md"}
PLANNING = ("--objective", "--solver", "--pin", "--min-bits", "--tie", "--schemes")
METHOD = ("--fit", "--axis", "--metadata", "--normalize", "--calibration", "--calibration-tokens", "--damping",
          "--column-order", "--zero-point", "--skip", "--embeddings", "--no-embeddings", "--sample-tokens", "--sample-seed")
OF_TEXTS = ("--calibration-tokens", "--damping", "--column-order", "--zero-point")


class Options(MxqTest):
    def setUp(self):
        super().setUp()
        self.model, self.out = self.folder / "model", self.folder / "out"
        small_text_model(self.model)

    def refused(self, command, options, says):
        for option in options:
            value = [VALUES[option]] if option in VALUES else []
            # Options of one switch are called by its first name.
            self.refuses(*command, option, *value, status=2, says=(option.replace("--no-emb", "--emb"), *says))

    def test_quantize(self):
        command = ("quantize", self.model, "-o", self.out)
        plan = self.folder / "plan.json"
        self.mxq("plan", self.model, "--bits", "4", *REL, "-o", plan)
        self.refused((*command, "--plan", plan), (*PLANNING, *METHOD, "--context", "--reserve", "--text", "--verify"),
                     ["has no effect with --plan"])
        self.refused((*command, "--uniform", "b4g64"), (*PLANNING, "--context", "--reserve", "--text", "--verify"),
                     ["has no effect with --uniform"])
        self.refused((*command, "--uniform", "b4g64", "--fit", "rtn"), (*OF_TEXTS, "--sample-tokens", "--sample-seed"),
                     ["has no effect with"])
        self.refused((*command, "--max-loss", "5%"), ("--context", "--reserve", "--verify"),
                     ["has no effect with --max-loss"])
        self.refused((*command, "--bits", "4"), ("--text",), ["has no effect with a budget"])
        self.refused((*command, "--bits", "4"), ("--context", "--reserve"), ["given without vram"])
        self.refused((*command, "--bits", "4", *REL), (*OF_TEXTS, "--sample-tokens", "--sample-seed"),
                     ["has no effect with"])

    def test_measure(self):
        self.refused(("measure", self.model), (*OF_TEXTS, "--calibration", "--sample-tokens", "--sample-seed"),
                     ["has no effect with no --sensitivity"])
        self.refused(("measure", self.model, "--sensitivity", "--fit", "rtn"), OF_TEXTS, ["has no effect with the fit rtn"])

    def test_plan(self):
        self.refused(("plan", self.model, "--frontier", self.folder / "f.csv"), ("--context", "--reserve"),
                     ["has no effect with a MODEL and no budget"])
        self.refuses("plan", self.model, "--frontier", self.folder / "f.csv", "-o", self.folder / "p.json", status=2,
                     says="--output has no effect with a MODEL and no budget")
        self.refused(("plan", self.model, "--bits", "4"), ("--grid",), ["--frontier"])
        self.refused(("plan", self.model, "--bits", "4", *REL), (*OF_TEXTS, "--sample-tokens", "--sample-seed"),
                     ["has no effect with"])
        table(self.folder / "e.csv", 3, seed=1)
        errors = ("plan", "--errors", self.folder / "e.csv")
        self.refused((*errors, "--bits", "4"), ("--no-cache", "--context", "--reserve", "--sample-tokens", "--grid"), [])
        self.refuses(*errors, "--size", "1MiB", status=2, says="--size")

    def test_eval_generate_and_the_others(self):
        (self.folder / "t.txt").write_text("some text to score, more than a few tokens of it")
        self.refused(("generate", self.model, "--prompt", "a"), ("--seed", "--top-p"),
                     ["has no effect with --temperature 0"])
        self.refused(("eval", self.model, "--self", "--temperature", 0), ("--seed", "--top-p"),
                     ["has no effect with --self and --temperature 0"])
        self.refused(("report", self.folder / "s.db", "-o", self.out), ("--json",), ["--json has no effect"])
        self.refused(("report", self.folder / "s.db", "-o", self.out), ("--introduction",), ["--markdown"])
        for name in ("status", "log", "export"):
            command = ("bench", "--store", "x.db", name, self.folder / "s.db", *(["r"] if name == "log" else []))
            self.refuses(*command, status=2, says="--store x.db")
            for flag in ("--retry", "--dry-run"):
                self.refuses("bench", flag, name, self.folder / "s.db", *(["r"] if name == "log" else []), status=2,
                             says=f"{flag} has no effect with bench {name}")
        for name, more in (("log", ["r"]), ("export", []), ("import", ["c.csv"])):
            self.refuses("bench", name, self.folder / "s.db", *more, "--json", status=2, says="--json has no effect")

    def test_tables_are_filtered_or_refused(self):
        errors = self.folder / "errors.csv"
        self.mxq("measure", self.model, "--sensitivity", *PROBES, "--embeddings", "-o", errors)
        plan = lambda *o: self.mxq_json("plan", "--errors", errors, "--bits", "5", *o)
        everything = plan()
        self.assertEqual(everything["objective"]["kind"], "kl")
        self.assertIn("lm_head", everything["matrices"])
        self.assertEqual(set(everything["matrices"]) - set(plan("--no-embeddings")["matrices"]),
                         {"lm_head", "model.embed_tokens"})
        self.assertFalse([name for name in plan("--skip", "mlp")["matrices"] if "mlp" in name])
        few = plan("--schemes", "b4g32,gauss4g64,b8g64")
        self.assertLessEqual({m["scheme"] for m in few["matrices"].values()}, {"b4g32", "gauss4g64", "b8g64"})
        # As the model itself gives it under the same options.
        same = self.mxq_json("plan", self.model, "--bits", "5", *PROBES, "--embeddings", "--schemes", "b4g32,gauss4g64,b8g64")
        self.assertEqual(few["matrices"], same["matrices"])
        for options, says in ((("--schemes", "nf4g64"), "none of the schemes"), (("--schemes", "b4g64,b4g16"), "b4g16"),
                              (("--skip", "nothing_like_it"), "nothing_like_it"), (("--axis", "0"), "--axis: 0"),
                              (("--metadata", "f16"), "--metadata: f16"), (("--fit", "mse"), "--fit: mse"),
                              (("--fit", "autogptq"), "for an error table of"), (("--normalize", "none"), "--normalize: none")):
            self.refuses("plan", "--errors", errors, "--bits", "5", *options, status=2, says=says)
        self.mxq("measure", self.model, "--fit", "mse", "-o", errors)
        self.refuses("plan", "--errors", errors, "--bits", "5", "--embeddings", status=2, says="the embedding")
        self.refuses("plan", "--errors", errors, "--bits", "5", "--objective", "kl", says="has no sensitivity")

    def test_tables_with_holes_and_odd_schemes(self):
        errors = self.folder / "errors.csv"
        self.mxq("measure", self.model, "--sensitivity", *PROBES, "-o", errors)
        rows = list(csv.DictReader(errors.read_text().splitlines()))

        def rewrite(change):
            with open(errors, "w", newline="") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                for i, row in enumerate(rows):
                    writer.writerow(change(i, dict(row)))

        command = ("plan", "--errors", errors, "--bits", "4")
        rewrite(lambda i, row: row | ({"sensitivity": ""} if i == 1 else {}))
        self.refuses(*command, says=("line 3, column 'sensitivity'", rows[1]["matrix"]))
        name = rows[0]["matrix"]
        rewrite(lambda i, row: row | ({"sensitivity": ""} if row["matrix"] == name else {}))
        done = self.run_mxq(*command, "--json")
        self.assertEqual(json.loads(done.stdout)["objective"]["kind"], "rel")
        self.assertIn(f"objective rel instead of kl, for 1 of 14 matrices of {errors} have no sensitivity, e.g. '{name}'",
                      done.stderr)
        self.refuses(*command, "--objective", "kl", says=(name, "no sensitivity"))
        self.assertEqual(self.mxq_json(*command, "--skip", name.replace(".", r"\."))["objective"]["kind"], "kl")
        rewrite(lambda i, row: row | ({"scheme": "b99g1", "nbit1": "", "gsize1": ""} if i == 5 else {}))
        self.refuses(*command, says=(str(errors), rows[5]["matrix"], "'b99g1'", "b4g64"))
        rewrite(lambda i, row: row | ({"nbit1": "7"} if i == 0 else {}))
        self.refuses(*command, says=("line 2, column 'nbit1'", "7 beside the scheme"))

    def test_pins_and_min_bits(self):
        command = ("plan", self.model, "--bits", "5", *REL)
        done = self.run_mxq(*command, "--pin", r"layers\.0\..*q_proj=b2g32", "--min-bits", 3, "--json")
        self.assertIn("1 matrices are pinned to schemes of fewer bits than --min-bits 3, e.g. "
                      "'model.layers.0.self_attn.q_proj' to b2g32: pins win", done.stderr)
        self.assertEqual(json.loads(done.stdout)["matrices"]["model.layers.0.self_attn.q_proj"]["scheme"], "b2g32")
        both = self.mxq_json(*command, "--pin", r"layers\.0\..*q_proj=b8g32", "--pin", "q_proj=b4g64")["matrices"]
        self.assertEqual(both["model.layers.0.self_attn.q_proj"]["scheme"], "b8g32")
        self.assertEqual(both["model.layers.1.self_attn.q_proj"]["scheme"], "b4g64")
        self.refuses(*command, "--pin", "q_proj=b4g64", "--pin", r"layers\.0\..*q_proj=b8g32", status=2,
                     says=("earlier pins have all", "q_proj=b8g32"))
        for options in (("--min-bits", 9), ("--min-bits", -1), ("--tie", "qk"), ("--tie", ""), ("--bits", "nan"), ("--bits", "inf"),
                        ("--bits", "-nan"), ("--bits", "1e400"), ("--bits", "-4")):
            plan = command[:2] if options[0] == "--bits" else command
            self.refuses(*plan, *options, status=2, says=options[1] if options[1] in ("nan", "inf") else options[0].lstrip("-").split("-")[0])


if __name__ == "__main__":
    unittest.main()
