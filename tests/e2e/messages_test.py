"""What a user reads: names that try to write to the terminal, misspelt words, texts without end, pins."""
import json
import os
import pty
import subprocess
import unittest

from support import (MXQ, MxqTest, byte_tokenizer, f32, floats, read_safetensors, said, small_model, small_text_model,
                     write_safetensors)

EVIL = "model.layers.0.\x1b[31mred\x07\x9b\u202e.weight"
SPELT = "model.layers.0.\\x1b[31mred\\x07\\u009b\\u202e"
CONTROLS = {chr(c) for c in (*range(0x20), *range(0x7f, 0xa0), *range(0x202a, 0x202f)) if c not in (9, 10)}


class Terminal(MxqTest):
    def printed(self, *arguments):
        """What the program writes to a terminal on standard output."""
        ours, theirs = pty.openpty()
        child = subprocess.Popen([MXQ, *map(str, arguments)], stdout=theirs, stderr=subprocess.DEVNULL, env=self.environment)
        os.close(theirs)
        data = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece: break
            data += piece
        os.close(ours)
        self.assertEqual(child.wait(), 0)
        return data.decode("utf-8").replace("\r\n", "\n")

    def with_name(self, name):
        model = self.folder / "model"
        small_model(model)
        tensors = read_safetensors(model / "model.safetensors")
        tensors[name] = ("F32", [32, 32], f32([0.5] * 1024))
        write_safetensors(model / "model.safetensors", tensors)
        return model

    def test_names_of_tensors_are_text(self):
        model = self.with_name(EVIL)
        for arguments in (("inspect", model), ("inspect", model, "--json"), ("measure", model, "--fit", "rtn"),
                          ("quantize", model, "--uniform", "b4g32", "--fit", "mse", "-o", self.folder / "out"),
                          ("dequantize", self.folder / "out", "-o", self.folder / "back")):
            done = self.run_mxq(*arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            if arguments[0] != "measure": self.assertFalse(CONTROLS & set(done.stdout + done.stderr), arguments)
            self.assertFalse(CONTROLS & set(self.printed(*arguments, *(["--overwrite"] if "-o" in arguments else []))), arguments)
        self.assertIn(SPELT, self.mxq("inspect", model))
        names = [m["name"] for m in json.loads(self.mxq("inspect", model, "--json"))["matrices"]]
        self.assertIn(EVIL.removesuffix(".weight"), names)

    def test_names_in_errors_are_text(self):
        model = self.with_name(EVIL)
        tensors = read_safetensors(model / "model.safetensors")
        tensors[EVIL] = ("F32", [32, 32], f32([float("nan")] * 1024))
        write_safetensors(model / "model.safetensors", tensors)
        done = self.run_mxq("quantize", model, "--uniform", "b4g32", "--fit", "mse", "-o", self.folder / "out")
        self.assertEqual(done.returncode, 1)
        remark, line = done.stderr.splitlines()
        for said in (remark, line):
            self.assertIn(SPELT, said)
            self.assertFalse(CONTROLS & set(said))

    def test_what_a_model_writes(self):
        # One token is likeliest after any other: its row of the output matrix has the sign of what comes in.
        model = self.folder / "model"
        small_text_model(model)
        escape = ("generate", model, "--prompt", "a\x1b", "--tokens", "40", "--temperature", "5", "--seed", "1", "-q")
        piped = subprocess.run([MXQ, *map(str, escape)], capture_output=True, env=self.environment)
        self.assertEqual(piped.returncode, 0, piped.stderr)
        self.assertTrue(CONTROLS & set(piped.stdout.decode("utf-8", "replace")), "no control character was drawn")
        self.assertFalse(CONTROLS & set(self.printed(*escape)))


class Words(MxqTest):
    def test_misspelt_commands_and_options(self):
        model = self.folder / "model"
        for arguments, meant in ((("quantise", model), "quantize"), (("mesure", model), "measure"), (("evla", model), "eval"),
                                 (("bench", "stats", "x"), "status"),
                                 (("quantize", model, "--metdata", "f16", "--bits", "3", "-o", "x"), "--metadata"),
                                 (("quantize", model, "--bit=3", "-o", "x"), "--bits"), (("inspect", model, "--jsn"), "--json"),
                                 (("eval", model, "--windw", "64"), "--window")):
            self.refuses(*arguments, status=2, says=f"; did you mean {meant}?")
        for arguments in (("fit", model), ("quantize", model, "--colour", "x", "--bits", "3", "-o", "x"), ("inspect", model, "extra")):
            self.assertNotIn("did you mean", self.refuses(*arguments, status=2))

    def test_texts_without_end(self):
        small_text_model(self.folder / "model")
        tokenize = ("tokenize", self.folder / "model", "--text")
        self.refuses(*tokenize, "/dev/zero", says=("read /dev/zero", "at most 1.0 GiB"))
        with open("/dev/zero") as zeros:
            done = self.run_mxq(*tokenize, "-", stdin=zeros)
        self.assertEqual((done.returncode, done.stderr.splitlines()),
                         (1, ["mxq: error: read standard input: a longer text; expected texts of at most 1.0 GiB"]))
        with open(self.folder / "long", "wb") as file: file.truncate(2**30 + 1)
        self.refuses(*tokenize, self.folder / "long", says=("long", "at most 1.0 GiB"))
        (self.folder / "rows.JSONL").write_text('{"text": "ab"}\n')
        self.assertEqual(self.mxq(*tokenize, self.folder / "rows.JSONL", "--no-bos"), "97 98\n".replace("97 98", self.mxq_ids("ab")))

    def mxq_ids(self, text):
        (self.folder / "plain.txt").write_text(text)
        return self.mxq("tokenize", self.folder / "model", "--text", self.folder / "plain.txt", "--no-bos").strip()

    def test_pins_are_refused_before_anything_is_measured(self):
        model = self.folder / "model"
        small_model(model)
        tensors = read_safetensors(model / "model.safetensors")
        # Measuring would find this first.
        name = "model.layers.0.self_attn.q_proj.weight"
        dtype, shape, data = tensors[name]
        tensors[name] = ("F32", shape, f32([float("nan")] * len(floats(tensors[name]))))
        write_safetensors(model / "model.safetensors", tensors)
        quantize = ("quantize", model, "--bits", "3.5", "--fit", "mse", "--objective", "rel", "-o", self.folder / "out", "--pin")
        self.refuses(*quantize, "(=b4g64", status=2, says="--pin: '(' is not a regular expression")
        self.refuses(*quantize, "nothing=b4g64", status=2, says="no matrix has a name that matches")
        self.refuses(*quantize, "q_proj=b4g16", status=2, says=("q_proj", "has no scheme 'b4g16'", "b4g32, b4g64"))
        self.refuses(*quantize, "(([a-z_.0-9]+)+)+[!?]=b4g64", status=2, says="takes too long")
        self.refuses(*quantize, "q_proj=b4g64", says="nan")

    def test_tables_of_other_programs(self):
        table = self.folder / "errors.csv"
        table.write_text("layer;module;nbit1;gsize1;fnorm;memmb;params\n0;q;2;32;1,5;2;3\n")
        self.refuses("plan", "--errors", table, "--bits", "3", says=("errors.csv", "separated by semicolons", "expected commas"))
        self.refuses("bench", "import", self.folder / "s.db", table, says=("errors.csv", "separated by semicolons"))

    def test_a_sampled_text_without_a_tokenizer(self):
        model = self.folder / "model"
        small_model(model, config={"vocab_size": 272})
        options = ("eval", model, "--self", "--tokens", "16", "--sequences", "2")
        done = self.run_mxq(*options, "--json")
        self.assertIn("without its tokenizer", json.loads(done.stdout)["sample_note"])
        self.assertIn("without its tokenizer", done.stderr)
        byte_tokenizer(model)
        done = self.run_mxq(*options, "--json")
        self.assertNotIn("sample_note", json.loads(done.stdout))
        self.assertEqual(said(done.stderr), [])

    def test_fields_that_nobody_knows(self):
        model = self.folder / "model"
        small_text_model(model)
        (model / "tokenizer_config.json").write_text('{"wobble": 1, "chat_template": ""}')
        said = self.run_mxq("inspect", model, "--log-level", "info").stderr
        self.assertIn("not honoured", said)
        self.assertIn("tokenizer_config.wobble", said)
        self.assertNotIn("chat_template", said)


if __name__ == "__main__":
    unittest.main()
