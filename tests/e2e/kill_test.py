"""kill -9 at random moments: the same command run again succeeds, with the bytes of an undisturbed run."""
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

from support import MXQ, MxqTest, small_model, small_text_model

SEED = 20260101
KILLS = 10
TO_A_LOSS = ["--max-loss", "1%", "--calibration-tokens", "512", "--sample-tokens", "256"]


class Kill(MxqTest):
    def setUp(self):
        super().setUp()
        print(f"seed {SEED}")
        self.random = random.Random(SEED)
        self.model = self.folder / "model"
        small_model(self.model, config={"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 2})

    def kill_ten_times(self, arguments, longest, finished):
        """Starts the command and kills it after a random part of `longest` seconds, until KILLS runs have been killed.
        A run that ends before is checked by `finished`, which also clears the way for the next."""
        killed = 0
        for _ in range(10 * KILLS):
            process = subprocess.Popen([MXQ, *map(str, arguments)], env=self.environment, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            try:
                process.wait(self.random.uniform(0, longest))
                finished()
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
            if killed == KILLS:
                return
        self.fail(f"only {killed} runs could be killed")

    def undisturbed(self, *arguments):
        self.environment["MXQ_CACHE"] = str(self.folder / "cache/undisturbed")
        started = time.monotonic()
        self.mxq(*arguments)
        self.environment["MXQ_CACHE"] = str(self.folder / "cache/killed")
        return time.monotonic() - started

    def forget(self):
        """Empties the cache, so that the next run is long enough to be killed at any moment."""
        shutil.rmtree(self.environment["MXQ_CACHE"], ignore_errors=True)

    def test_measure(self):
        seconds = self.undisturbed("measure", self.model, "-o", self.folder / "undisturbed.csv")
        expected = (self.folder / "undisturbed.csv").read_text()
        target = self.folder / "errors.csv"

        def finished():
            self.assertEqual(target.read_text(), expected)
            target.unlink()
            self.forget()

        self.kill_ten_times(["measure", self.model, "-o", target], seconds, finished)
        if target.exists():
            self.assertEqual(target.read_text(), expected, "a partial table under the final name")
        self.mxq("measure", self.model, "-o", target)
        finished()

    def kill_quantize(self, model, *options):
        undisturbed, out = self.folder / "undisturbed", self.folder / "out"
        seconds = self.undisturbed("quantize", model, "-o", undisturbed, *options)
        names = sorted(p.name for p in undisturbed.iterdir())

        def finished():
            self.assertEqual(sorted(p.name for p in out.iterdir()), names)
            for name in names:
                self.assertEqual((out / name).read_bytes(), (undisturbed / name).read_bytes(), name)
            self.assertEqual([p.name for p in self.folder.glob(".*")], [], "a partial folder is left")
            shutil.rmtree(out)
            self.forget()

        self.kill_ten_times(["quantize", model, "-o", out, *options], seconds, finished)
        if not out.exists():
            self.mxq("quantize", model, "-o", out, *options)
        finished()

    def test_quantize(self):
        self.kill_quantize(self.model, "--bits", "3.25", "--shard-bytes", "100000")

    def text_model(self):
        small_text_model(self.folder / "text-model")
        return self.folder / "text-model"

    def test_quantize_by_default(self):
        self.kill_quantize(self.text_model(), "--bits", "3.5", "--calibration-tokens", "1024", "--sample-tokens", "256")

    def test_quantize_to_a_loss(self):
        self.kill_quantize(self.text_model(), *TO_A_LOSS)

    def test_a_finished_folder_has_nothing_beside_it(self):
        model, out = self.text_model(), self.folder / "out"
        for _ in range(KILLS):
            process = subprocess.Popen([MXQ, "quantize", model, "-o", out, *TO_A_LOSS], env=self.environment,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not out.exists() and process.poll() is None:
                pass
            process.kill()
            process.wait()
            self.assertTrue(out.exists())
            self.assertEqual([p.name for p in self.folder.glob(".*")], [])
            shutil.rmtree(out)


if __name__ == "__main__":
    unittest.main()
