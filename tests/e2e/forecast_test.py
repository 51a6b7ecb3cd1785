"""What quantize says that it will take, beside what it takes: memory and disk; seconds are for bench/forecast.py."""
import importlib.util
import os
import subprocess
import unittest

from support import MXQ, SANITIZED, SOURCE, MxqTest, byte_tokenizer, small_text_model

spec = importlib.util.spec_from_file_location("bench_forecast", SOURCE / "bench" / "forecast.py")
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

SHAPES = {
    "wide": dict(hidden_size=1024, intermediate_size=2816, num_hidden_layers=2, num_attention_heads=16, num_key_value_heads=4,
                 vocab_size=8192),
    "deep": dict(hidden_size=256, intermediate_size=704, num_hidden_layers=12, num_attention_heads=4, num_key_value_heads=4,
                 vocab_size=4096),
    "wordy": dict(hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                  vocab_size=32768),
}
FEW = ["--schemes", "b3g64,b4g64"]  # for speed: memory does not depend on how many there are
JOBS = {
    "kl": ["--bits", "3.5", *FEW, "--calibration-tokens", "1536", "--sample-tokens", "256"],
    "streaming": ["--bits", "3.5", *FEW, "--objective", "rel", "--fit", "mse"],
    "verify": ["--bits", "3.5", *FEW, "--calibration-tokens", "768", "--sample-tokens", "128", "--verify"],
}


class Forecasts(MxqTest):
    @unittest.skipIf(SANITIZED, "sanitizers take memory of their own")
    def test_memory_within_a_factor_of_two(self):
        for name, shape in SHAPES.items():
            model = bench.write_model(self.folder / name, shape)
            for job, flags in JOBS.items():
                if job == "verify" and name != "deep": continue
                with self.subTest(model=name, job=job):
                    result = self.mxq_json("quantize", model, *flags, "-o", self.folder / "out", "--no-cache", "--overwrite")
                    said, took = result["forecast"]["memory_bytes"], result["peak_rss_bytes"]
                    self.assertLess(said / took, 2, f"{said} said, {took} taken")
                    self.assertGreater(said / took, 0.5, f"{said} said, {took} taken")
                    disk = sum(result["files"].values())
                    if job != "verify":
                        self.assertAlmostEqual(result["forecast"]["disk_bytes"] / disk, 1, delta=0.1)
                    else:
                        self.assertGreater(result["forecast"]["disk_bytes"], 2 * disk)

    @unittest.skipIf(SANITIZED, "sanitizers take memory of their own")
    def test_memory_is_this_programs_alone(self):
        """Not that of a checkpoint which is overwritten, nor of whoever started the program."""
        out = self.folder / "out"
        large = bench.write_model(self.folder / "large", SHAPES["wide"])
        self.mxq_json("quantize", large, "--uniform", "b8g32", "--fit", "rtn", "-o", out)
        self.assertGreater((out / "model.safetensors").stat().st_size, 32 << 20)
        small = bench.write_model(self.folder / "small", SHAPES["deep"] | {"num_hidden_layers": 1, "vocab_size": 1024})
        mine = bytearray(os.urandom(1 << 20) * 100)
        result = self.mxq_json("quantize", small, "--uniform", "b4g64", "--fit", "rtn", "-o", out, "--overwrite")
        self.assertLess(result["peak_rss_bytes"], 48 << 20)
        self.assertEqual(len(mine), 100 << 20)

    def test_it_is_said_before_work_above_a_second(self):
        model = bench.write_model(self.folder / "model", SHAPES["deep"])
        byte_tokenizer(model, SHAPES["deep"]["vocab_size"])
        command = [MXQ, "quantize", str(model), "--bits", "3.5", "-o", str(self.folder / "out"), "--no-cache"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=self.environment) as running:
            first = running.stderr.readline()
            self.assertIsNone(running.poll(), "the work is still ahead")
            running.kill()
        self.assertRegex(first, r"^mxq: about \d+ (s|min) and [\d.]+ [MG]iB of memory; [\d.]+ MiB on disk\n")

    def test_nothing_is_said_of_what_takes_no_time(self):
        model = self.folder / "model"
        small_text_model(model)
        text = self.folder / "text"
        text.write_text("Nothing is said of what takes no time. ")
        self.assertEqual(self.run_mxq("eval", model, "--text", text, "--window", "8").stderr, "")


if __name__ == "__main__":
    unittest.main()
