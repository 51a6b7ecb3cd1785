"""mxq eval: recipes, comparisons and self-sampled text; packed and resident weights agree; what is wrong is refused."""
import json
import math
import subprocess
import unittest

from support import (MXQ, SMOLLM2, MxqTest, byte_tokenizer, floats, needs_smollm2, read_folder, small_model,
                     small_text_model, write_safetensors)

TEXT = "The tower is 324 metres tall, about the same height as an 81-storey building. " * 12


class SmallModel(MxqTest):
    """A random model whose tokens are bytes, with a checkpoint made of it."""

    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        small_text_model(self.model)
        self.text = self.folder / "text"
        self.text.write_text(TEXT[:200])

    def score(self, *options, model=None):
        return self.mxq_json("eval", model or self.model, *options)

    def test_recipes(self):
        hf = self.score("--text", self.text, "--window", 64, "--stride", 32)
        self.assertEqual((hf["tokens"], hf["windows"], hf["recipe"]), (200, 6, "hf"))
        llama = self.score("--text", self.text, "--window", 64, "--recipe", "llama.cpp")
        self.assertEqual((llama["tokens"], llama["windows"], llama["recipe"]), (3 * 31, 3, "llama.cpp"))
        self.assertNotEqual(hf["perplexity"], llama["perplexity"])
        self.assertAlmostEqual(hf["nll"], math.log(hf["perplexity"]), places=9)
        # Random weights know nothing: not far from one in 272.
        self.assertAlmostEqual(hf["nll"], math.log(272), delta=0.5)

    def test_forms_of_a_text(self):
        window = ("--window", 64)
        plain = self.score("--text", self.text, *window)
        rows = self.folder / "rows.jsonl"
        rows.write_text("".join(json.dumps({"text": t, "url": ""}) + "\n" for t in ("ab", "cd\u00e9")))
        joined = self.folder / "joined.txt"
        joined.write_text("ab\n\ncd\u00e9")
        self.assertEqual(self.score("--text", rows, *window)["nll"], self.score("--text", joined, *window)["nll"])
        done = subprocess.run([MXQ, "eval", self.model, "--text", "-", "--window", "64", "--json"], input=TEXT[:200],
                              capture_output=True, text=True)
        self.assertEqual(json.loads(done.stdout)["nll"], plain["nll"])

    def test_logits_of_a_base_are_kept(self):
        text = ("--text", self.text, "--window", 64)
        self.mxq("quantize", self.model, "--uniform", "b3g32", "-o", self.folder / "small")
        kept, small = self.folder / "logits", self.folder / "small"
        without = self.score("--against", self.model, *text, model=small)
        written = self.score("--against", self.model, *text, "--base-logits", kept, model=small)
        # Of 200 bytes in windows of 64, each 32 behind the last, all but the first are predicted, once.
        self.assertEqual(kept.stat().st_size, 64 + 4 * 272 * 199)
        read = self.score("--against", self.model, *text, "--base-logits", kept, model=small)
        for found in (written, read):
            self.assertEqual(found["kl"], without["kl"])
            self.assertEqual(found["nll"], without["nll"])
        # Nothing else may take them for its own.
        refuses = lambda *arguments, **how: self.refuses("eval", small, *arguments, "--base-logits", kept, **how)
        refuses("--against", small, *text, status=2, says=["logits of another model, text, window or compute"])
        refuses("--against", self.model, "--text", self.text, "--window", "32", status=2, says=["logits of another"])
        whole = kept.read_bytes()
        kept.write_bytes(whole[:-1])
        refuses("--against", self.model, *text, says=[f"{len(whole) - 1} bytes; expected {len(whole)} bytes"])
        kept.write_bytes(b"nothing of the kind")
        refuses("--against", self.model, *text, status=2, says=["mxq did not write it as a file of logits"])
        refuses(*text, status=2, says=["--base-logits requires --against"])

    def test_against_another_model(self):
        text = ("--text", self.text, "--window", 64)
        same = self.score("--against", self.model, *text)
        self.assertEqual((same["kl"]["mean"], same["kl"]["p99"], same["kl"]["ln_ppl_ratio"]), (0, 0, 0))
        self.assertEqual(same["kl"]["top1_agreement"], 1)
        self.mxq("quantize", self.model, "--uniform", "b3g32", "-o", self.folder / "small")
        base, alone = self.score(*text), self.score(*text, model=self.folder / "small")
        found = self.score("--against", self.model, *text, model=self.folder / "small")
        kl = found["kl"]
        self.assertAlmostEqual(found["perplexity"], alone["perplexity"], delta=1e-5 * alone["perplexity"])
        self.assertAlmostEqual(kl["base_perplexity"], base["perplexity"], delta=1e-5 * base["perplexity"])
        self.assertAlmostEqual(kl["ln_ppl_ratio"], math.log(found["perplexity"] / kl["base_perplexity"]), places=9)
        self.assertGreater(kl["mean"], 0)
        self.assertTrue(0 < kl["median"] <= kl["p99"] <= kl["max"])
        self.assertIn("KL", self.mxq("eval", self.folder / "small", "--against", self.model, *text))

    def test_column_scales_packed_resident_and_dequantized(self):
        text = ("--text", self.text, "--window", 64)
        self.mxq("quantize", self.model, "--uniform", "b3g32", "--normalize", "columns", "-o", self.folder / "packed")
        self.mxq("quantize", self.model, "--uniform", "b3g32", "--normalize", "none", "-o", self.folder / "none")
        self.mxq("dequantize", self.folder / "packed", "-o", self.folder / "plain", "--dtype", "f32")
        packed = self.score(*text, "--packed", model=self.folder / "packed")["perplexity"]
        for resident in (self.folder / "packed", self.folder / "plain"):
            self.assertAlmostEqual(self.score(*text, model=resident)["perplexity"] / packed, 1, delta=1e-5)
        self.assertNotAlmostEqual(self.score(*text, model=self.folder / "none")["perplexity"] / packed, 1, delta=1e-5)

    def test_self_sampled_text(self):
        options = ("--self", "--tokens", 20, "--sequences", 4)
        first = self.score(*options)
        self.assertEqual((first["tokens"], first["windows"], first["recipe"]), (80, 4, "self"))
        self.assertEqual(self.score(*options, "--threads", 1)["nll"], first["nll"])
        self.assertNotEqual(self.score(*options, "--seed", 2)["nll"], first["nll"])
        # At temperature 0 the model always takes its likeliest token, which surprises it less than what it draws.
        self.assertLess(self.score(*options, "--temperature", 0)["nll"], first["nll"])
        same = self.score("--against", self.model, *options)
        self.assertEqual(same["kl"]["mean"], 0)
        self.assertAlmostEqual(same["perplexity"], first["perplexity"], delta=1e-5 * first["perplexity"])

    def test_generate(self):
        first = self.mxq_json("generate", self.model, "--prompt", "ab", "--tokens", 9)
        self.assertEqual((first["prompt_tokens"], len(first["ids"]), first["tokens"]), (2, 9, 9))
        self.assertEqual(self.mxq_json("generate", self.model, "--prompt", "ab", "--tokens", 9)["ids"], first["ids"])
        (self.folder / "prompt").write_text("ab")
        file = self.mxq_json("generate", self.model, "--prompt-file", self.folder / "prompt", "--tokens", 9)
        self.assertEqual(file["ids"], first["ids"])
        drawn = [self.mxq_json("generate", self.model, "--temperature", 1, "--tokens", 9, "--seed", s)["ids"]
                 for s in (1, 1, 2)]
        self.assertEqual(drawn[0], drawn[1])
        self.assertNotEqual(drawn[0], drawn[2])
        done = subprocess.run([MXQ, "generate", self.model, "--prompt", "ab", "--tokens", "9", "-q"], capture_output=True)
        # Random bytes; JSON has a character in place of those that are not UTF-8.
        self.assertEqual(done.stdout.decode(errors="replace"), first["text"] + "\n")
        self.assertEqual(done.stderr, b"")

    def test_a_text_that_a_chat_model_ends_at_once(self):
        config = json.loads((self.model / "config.json").read_text())
        config["eos_token_id"] = list(range(config["vocab_size"]))
        (self.model / "config.json").write_text(json.dumps(config))
        (self.model / "chat_template.jinja").write_text("{{ messages }}")
        done = self.run_mxq("generate", self.model, "--prompt", "What is gravity?")
        self.assertEqual((done.returncode, done.stdout), (0, "\n"))
        self.assertIn("the model ended the text with token", done.stderr)
        self.assertIn("template for chats, which is not applied", done.stderr)

    def test_texts_that_cannot_be_scored(self):
        for text, says in ((b"", "0 tokens"), (b"a", "1 tokens"), (b"\xff\xfe", "UTF-8")):
            self.text.write_bytes(text)
            self.refuses_eval(says=says)
        self.text.write_text("a" * 60)
        self.refuses_eval("--recipe", "llama.cpp", status=2, says=("60 tokens", "at least one window of 64"))
        rows = self.folder / "rows.jsonl"
        rows.write_text('{"text": "a"}\n{"content": "b"}\n')
        self.refuses("eval", self.model, "--text", rows, says="line 2: no string \"text\"")
        self.refuses("eval", self.model, "--text", self.folder / "none", says="none")

    def refuses_eval(self, *options, status=None, says=(), model=None):
        command = ("eval", model or self.model, "--text", self.text, "--window", 64, *options)
        if status is None:
            status = self.run_mxq(*command).returncode
            self.assertIn(status, (1, 2))
        self.refuses(*command, status=status, says=says)

    def test_options_that_make_no_sense(self):
        self.refuses("eval", self.model, status=2, says=("--text", "--self"))
        self.refuses("eval", self.model, "--self", "--text", self.text, status=2, says="--self excludes --text")
        self.refuses("eval", self.model, "--text", self.text, "--seed", 1, status=2, says="--self")
        self.refuses("eval", self.model, "--self", "--tokens", 9, "--temperature", -1, status=2, says="temperature -1")
        self.refuses("eval", self.model, "--self", "--tokens", 9, "--top-p", 0, status=2, says="top-p 0")
        self.refuses_eval("--recipe", "gpt", status=2, says=("gpt", "hf, llama.cpp"))
        self.refuses_eval("--stride", 65, status=2, says="stride 65")
        self.refuses_eval("--stride", 8, "--recipe", "llama.cpp", status=2, says="stride 8")
        self.refuses("generate", self.model, "--tokens", 0, status=2, says="--tokens")
        self.refuses("generate", self.model, "--prompt", "a", "--prompt-file", self.text, status=2, says="--prompt")

    def test_models_that_do_not_fit_together(self):
        byte_tokenizer(self.model, tokens=300)
        self.mxq("eval", self.model, "--text", self.text)  # no token of the text is beyond the model's
        byte_tokenizer(self.model)
        other = self.folder / "other"
        small_model(other)  # of 96 tokens
        self.refuses_eval("--against", other, status=1, says="tokenizer.json")
        byte_tokenizer(other, tokens=258)
        self.refuses_eval("--against", other, says="vocabularies of 272 and 96 tokens")
        self.refuses_eval(model=other, says="the tokenizer knows 258 tokens, the model 96")
        self.refuses("eval", other, "--against", self.model, "--self", "--tokens", 9, status=2, says="vocabularies of 96 and 272")

    def test_long_windows_are_warned_of(self):
        done = self.run_mxq("eval", self.model, "--text", self.text, "--window", 200)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("200 tokens at a time are beyond the 128", done.stderr)

    def test_broken_models(self):
        config = json.loads((self.model / "config.json").read_text())
        for change, says in (({"num_attention_heads": 0}, "num_attention_heads"), ({"rms_norm_eps": -1}, "rms_norm_eps"),
                             ({"model_type": "mamba"}, "mamba"), ({"hidden_size": None}, "hidden_size")):
            (self.model / "config.json").write_text(json.dumps({**config, **change}))
            self.refuses_eval(says=says)
        (self.model / "config.json").write_text(json.dumps(config))
        tensors = read_folder(self.model)
        name = "model.layers.1.mlp.down_proj.weight"
        dtype, shape, data = tensors[name]
        self.assertEqual(dtype, "BF16")
        self.assertTrue(all(math.isfinite(x) for x in floats(tensors[name])))
        write_safetensors(self.model / "model.safetensors", {**tensors, name: (dtype, shape, b"\xc0\x7f" + data[2:])})
        says = f"'{name}' holds nan at row 0, column 0"
        self.refuses_eval(says=says)
        self.refuses("eval", self.model, "--self", "--tokens", 20, says=says)
        self.refuses("generate", self.model, says=says)
        name = "lm_head.weight"
        dtype, shape, data = tensors[name]
        write_safetensors(self.model / "model.safetensors", {**tensors, name: (dtype, shape, b"\xc0\x7f" + data[2:])})
        self.refuses_eval(says=f"'{name}' holds nan")
        self.refuses("generate", self.model, says=f"'{name}' holds nan")


class SmolLM2(MxqTest):
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
    def test_the_model_talks(self):
        done = self.mxq("generate", SMOLLM2, "--prompt", "The capital of France is", "--tokens", 3, "--packed")
        self.assertIn("Paris", done)


if __name__ == "__main__":
    unittest.main()
