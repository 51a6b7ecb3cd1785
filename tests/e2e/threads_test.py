"""Results depend on no environment variable, and not on how many threads or cores there are."""
import hashlib
import json
import os
import shutil
import subprocess
import unittest

from support import MXQ, MxqTest, byte_tokenizer, small_model

SETTINGS = [
    {"OMP_THREAD_LIMIT": "1"}, {"OMP_THREAD_LIMIT": "2"}, {"OMP_DYNAMIC": "true"}, {"OMP_NUM_THREADS": "1"},
    {"OMP_NUM_THREADS": "5"}, {"OMP_MAX_ACTIVE_LEVELS": "0"}, {"OMP_NESTED": "true", "OMP_MAX_ACTIVE_LEVELS": "4"},
    {"OMP_SCHEDULE": "static,1"}, {"OMP_STACKSIZE": "16k"}, {"GOMP_STACKSIZE": "16"}, {"OMP_PROC_BIND": "close"},
    {"OMP_PLACES": "cores"}, {"OMP_WAIT_POLICY": "passive", "OMP_STACKSIZE": "16k"}, {"OMP_CANCELLATION": "true"},
    {"GOMP_SPINCOUNT": "0"}, {"GOMP_CPU_AFFINITY": "0"}, {"KMP_STACKSIZE": "16k"}, {"DNNL_DEFAULT_FPMATH_MODE": "BF16"},
    {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}, {"DNNL_MAX_CPU_ISA": "SSE41"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"DNNL_PRIMITIVE_CACHE_CAPACITY": "0"}, {"DNNL_VERBOSE": "2"}, {"ONEDNN_VERBOSE": "1"},
]
# Large enough that oneDNN shares its products out.
WIDER = {"vocab_size": 272, "bos_token_id": 256, "eos_token_id": 257, "hidden_size": 256, "intermediate_size": 768,
         "num_attention_heads": 4, "num_key_value_heads": 2}
QUANTIZE = ("quantize", "--uniform", "b3g64", "--calibration-tokens", "256", "--sample-tokens", "64", "--no-cache")


class Environment(MxqTest):
    def setUp(self):
        super().setUp()
        self.model, self.text = self.folder / "model", self.folder / "text"
        small_model(self.model, config=WIDER)
        byte_tokenizer(self.model)
        self.text.write_text("Some text that is long enough to be scored, twice over. " * 4)

    def run_with(self, setting, threads, launcher=()):
        def run(*command):
            done = subprocess.run([*launcher, MXQ, *map(str, command), "--threads", str(threads), "--json", "--quiet"],
                                  capture_output=True, text=True, env={**self.environment, **setting})
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        run(QUANTIZE[0], self.model, "-o", out, *QUANTIZE[1:])
        return (json.loads(run("eval", self.model, "--text", self.text, "--window", 128))["perplexity"],
                json.loads(run("generate", self.model, "--prompt", "Gulls", "--tokens", 12))["ids"],
                hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest())

    def test_every_setting_gives_the_same_bytes(self):
        expected = self.run_with({}, 2)
        for i, setting in enumerate([{}, *SETTINGS]):
            threads = (3, 8, 1, 2)[i % 4]
            with self.subTest(setting=setting, threads=threads):
                self.assertEqual(self.run_with(setting, threads), expected)

    def test_limits_on_threads_where_more_are_asked_for(self):
        expected = self.run_with({}, 1)
        for setting in ({"OMP_THREAD_LIMIT": "2"}, {"OMP_DYNAMIC": "true"}, {"OMP_MAX_ACTIVE_LEVELS": "0"}):
            for threads in (3, 8):
                with self.subTest(setting=setting, threads=threads):
                    self.assertEqual(self.run_with(setting, threads), expected)

    @unittest.skipUnless(shutil.which("taskset"), "no taskset")
    def test_one_core_and_small_stacks(self):
        expected = self.run_with({}, 2)
        core = str(min(os.sched_getaffinity(0)))
        self.assertEqual(self.run_with({}, 3, ("taskset", "-c", core)), expected)
        self.assertEqual(self.run_with({}, 3, ("bash", "-c", 'ulimit -s 1024 && exec "$@"', "bash")), expected)


if __name__ == "__main__":
    unittest.main()
