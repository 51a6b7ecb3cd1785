"""Plans made for GGUF: a .gguf file of the bytes that the plan promises, which is read back as the model."""
import math
import unittest

from support import SMOLLM2, MxqTest, needs_smollm2, small_model, small_text_model

FAST = ("--objective", "rel", "--fit", "mse")  # weights alone


@needs_smollm2
class GgufOutput(MxqTest):
    def test_the_file_has_the_size_that_was_asked_for_and_the_model_in_it(self):
        out = self.folder / "small.gguf"
        plan = self.mxq_json("quantize", SMOLLM2, "--format", "gguf", "--size", "80MiB", *FAST, "-o", out)
        self.assertEqual(plan["format"], "gguf")
        self.assertEqual(plan["files"], {"small.gguf": out.stat().st_size})
        self.assertLessEqual(out.stat().st_size, 80 << 20)
        self.assertGreater(out.stat().st_size, 0.97 * (80 << 20))
        self.assertGreater(len({m["scheme"] for m in plan["matrices"].values()}), 2)
        # 576 columns are no whole blocks of 256, 1,536 are.
        for name, matrix in plan["matrices"].items():
            if "down_proj" not in name: self.assertNotIn("_k", matrix["scheme"], name)
        report = self.mxq_json("inspect", out)
        self.assertEqual((report["architecture"], report["parameters"]), ("llama", 134_515_008))
        # Rows of q and k that were in another order would give another model.
        loss = self.mxq_json("eval", out, "--against", SMOLLM2, "--self", "--sequences", 2, "--tokens", 64)["kl"]["mean"]
        self.assertLess(loss, 0.2)
        text = self.folder / "text.txt"
        text.write_text("It's 12,345 naïve cafés.", encoding="utf-8")
        self.assertEqual(self.mxq("tokenize", out, "--text", text), self.mxq("tokenize", SMOLLM2, "--text", text))

    def test_what_is_eight_bits_is_nearly_the_model(self):
        out = self.folder / "eight.gguf"
        plan = self.mxq_json("quantize", SMOLLM2, "--format", "gguf", "--uniform", "q8_0", "--fit", "mse", "-o", out)
        self.assertEqual(len(plan["matrices"]), 211)
        loss = self.mxq_json("eval", out, "--against", SMOLLM2, "--self", "--sequences", 2, "--tokens", 64)["kl"]["mean"]
        self.assertLess(loss, 0.003)

    def test_feedback_keeps_more_of_the_model_than_rounding(self):
        kl = {}
        for fit in ("mse", "gptq"):
            out = self.folder / f"{fit}.gguf"
            text = ("--calibration-tokens", 2048, "--sample-tokens", 256) if fit == "gptq" else ()
            self.mxq("quantize", SMOLLM2, "--format", "gguf", "--uniform", "q4_0", "--no-embeddings", "--fit", fit, *text, "-o", out)
            kl[fit] = self.mxq_json("eval", out, "--against", SMOLLM2, "--self", "--sequences", 4, "--tokens", 128)["kl"]["mean"]
        self.assertLess(kl["gptq"], 0.8 * kl["mse"])

    def test_a_plan_of_a_file_is_carried_out_in_its_format(self):
        plan, out = self.folder / "plan.json", self.folder / "by-plan.gguf"
        self.mxq("plan", SMOLLM2, "--format", "gguf", "--bits", "4.6", *FAST, "-o", plan)
        done = self.mxq_json("quantize", SMOLLM2, "--plan", plan, "-o", out)
        self.assertEqual((done["format"], out.read_bytes()[:4]), ("gguf", b"GGUF"))

    def test_the_smallest_file_within_a_loss_is_found_by_trial(self):
        out = self.folder / "within.gguf"
        fast = ("--fit", "mse", "--sample-tokens", 256, "--schemes", "q4_0,q5_0,q8_0")
        def left(): return sorted(path.name for path in self.folder.iterdir() if path.name != "cache")
        done = self.mxq_json("quantize", SMOLLM2, "--format", "gguf", "--max-loss", "20%", *fast, "-o", out)
        kept = next(trial for trial in done["trials"] if trial["bits_per_parameter"] == done["bits_per_parameter"])
        self.assertLessEqual(kept["loss"], math.log(1.2))
        self.assertEqual(done["files"], {"within.gguf": out.stat().st_size})
        self.assertEqual(left(), ["within.gguf"])
        # What the trials saw is what the file has, on other text of the model's own.
        loss = self.mxq_json("eval", out, "--against", SMOLLM2, "--self", "--sequences", 8, "--tokens", 128)["kl"]["mean"]
        self.assertLess(loss, 2 * kept["loss"])
        self.assertGreater(loss, 0.5 * kept["loss"])
        verified = self.folder / "verified.gguf"
        done = self.mxq_json("quantize", SMOLLM2, "--format", "gguf", "--bits", 5, "--verify", *fast, "-o", verified)
        self.assertEqual(len(done["trials"]), 2)
        self.assertEqual(left(), ["verified.gguf", "within.gguf"])
        # Trials' places are nobody else's.
        taken = self.folder / ".no.gguf.trial0"
        taken.write_bytes(SMOLLM2.read_bytes())
        self.refuses("quantize", SMOLLM2, "--format", "gguf", "--max-loss", "20%", "-o", self.folder / "no.gguf", status=2,
                     says=(".no.gguf.trial0", "mxq did not write"))
        self.assertTrue(taken.exists())

    def test_what_is_there_stays(self):
        out = self.folder / "taken.gguf"
        out.write_bytes(SMOLLM2.read_bytes())
        quantize = ("quantize", SMOLLM2, "--format", "gguf", "--uniform", "q4_0", "--fit", "mse", "-o", out)
        self.refuses(*quantize, status=2, says=("taken.gguf", "it exists"))
        self.refuses(*quantize, "--overwrite", status=2, says=("taken.gguf", "mxq did not write"))
        self.refuses(*quantize[:-1], SMOLLM2, "--overwrite", status=2, says=str(SMOLLM2))
        out.unlink()
        self.mxq(*quantize)
        first = out.read_bytes()
        self.refuses(*quantize, status=2, says="it exists")
        self.mxq(*quantize, "--overwrite")
        self.assertEqual(out.read_bytes(), first)

    def test_what_the_format_has_no_place_for_is_refused_by_name(self):
        out = self.folder / "no.gguf"
        def refuses(*options, says, status=2):
            self.refuses("quantize", SMOLLM2, "--format", "gguf", *options, "-o", out, status=status, says=says)
        refuses("--bits", 4.6, "--normalize", "rotation", says=("--normalize", "rotation for the format gguf"))
        refuses("--bits", 4.6, "--schemes", "b4g64", says=("--schemes", "b4g64 for the format gguf", "q4_k"))
        refuses("--bits", 4.6, "--fit", "awq", says=("--fit", "awq for the format gguf"))
        refuses("--bits", 4.6, "--fit", "autogptq", says="for the format gguf")
        refuses("--bits", 4.6, "--axis", 0, "--fit", "mse", says="for the format gguf")
        refuses("--uniform", "q4_k", "--fit", "mse", status=1, says=("embed_tokens", "576", "--skip"))
        refuses("--size", "1MiB", *FAST, status=1, says=("--size", "at least"))
        self.refuses("quantize", SMOLLM2, "--format", "none", "--bits", 4, "-o", out, status=2, says=("none", "mxq, gguf"))


class OtherModels(MxqTest):
    def test_a_model_whose_tokenizer_llama_cpp_does_not_know_is_refused(self):
        small_text_model(self.folder / "model")
        self.refuses("quantize", self.folder / "model", "--format", "gguf", "--bits", 5, *FAST, "-o", self.folder / "out.gguf",
                     says="write GGUF")

    def test_without_a_tokenizer_the_file_takes_ids_and_that_is_said(self):
        small_model(self.folder / "model")
        done = self.run_mxq("quantize", self.folder / "model", "--format", "gguf", "--bits", 5, *FAST, "-o", self.folder / "out.gguf")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("has no tokenizer.json: llama.cpp loads the GGUF for token ids only", done.stderr)
        self.assertEqual(self.mxq_json("inspect", self.folder / "out.gguf")["architecture"], "llama")


if __name__ == "__main__":
    unittest.main()
