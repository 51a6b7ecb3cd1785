"""mxq eval on the real model: packed and resident weights agree; wrong texts and models are refused."""
import unittest

from support import SMOLLM2, MxqTest, needs_smollm2, small_model

TEXT = "The tower is 324 metres tall, about the same height as an 81-storey building. " * 12


class Eval(MxqTest):
    @needs_smollm2
    def test_packed_equals_resident_and_dequantized(self):
        (self.folder / "text").write_text(TEXT)
        self.mxq("quantize", SMOLLM2, "--uniform", "b4g32", "--fit", "rtn", "-o", self.folder / "packed")
        self.mxq("dequantize", self.folder / "packed", "-o", self.folder / "plain", "--dtype", "f32")
        window = ("--window", 128, "--stride", 64)

        def score(model, *options):
            return self.mxq_json("eval", model, "--text", self.folder / "text", *window, *options)

        resident, packed = score(self.folder / "packed"), score(self.folder / "packed", "--packed")
        plain, original = score(self.folder / "plain"), score(SMOLLM2)
        self.assertAlmostEqual(packed["perplexity"] / resident["perplexity"], 1, delta=1e-5)
        self.assertAlmostEqual(packed["perplexity"] / plain["perplexity"], 1, delta=1e-5)
        self.assertLess(packed["weight_bytes"], plain["weight_bytes"] / 5)
        self.assertNotAlmostEqual(packed["perplexity"] / original["perplexity"], 1, delta=1e-3)
        one_thread = score(self.folder / "packed", "--threads", 1)
        self.assertAlmostEqual(one_thread["perplexity"] / resident["perplexity"], 1, delta=1e-5)
        self.assertEqual(score(SMOLLM2, "--tokens", 100)["tokens"], 100)

    @needs_smollm2
    def test_texts_that_cannot_be_scored(self):
        for text, says in ((b"", "0 tokens"), (b"\xff\xfe", "UTF-8")):
            (self.folder / "text").write_bytes(text)
            done = self.run_mxq("eval", SMOLLM2, "--text", self.folder / "text")
            self.assertIn(done.returncode, (1, 2))
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn(says, done.stderr)

    def test_a_model_without_tokenizer(self):
        small_model(self.folder / "model")
        (self.folder / "text").write_text(TEXT)
        self.refuses("eval", self.folder / "model", "--text", self.folder / "text", "--window", 64, says="tokenizer.json")


if __name__ == "__main__":
    unittest.main()
