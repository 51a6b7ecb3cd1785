"""kill -9 at random moments: the same command run again succeeds, with the bytes of an undisturbed run."""
import os
import random
import signal
import subprocess
import time
import unittest

from support import MXQ, MxqTest, small_model

SEED = 20260101
KILLS = 10


class Kill(MxqTest):
    def setUp(self):
        super().setUp()
        print(f"seed {SEED}")
        self.random = random.Random(SEED)
        self.model = self.folder / "model"
        small_model(self.model, config={"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4})

    def run_and_kill(self, arguments, longest):
        """Starts the command, kills it after a random part of `longest` seconds; True if it was still running."""
        process = subprocess.Popen([MXQ, *map(str, arguments)], env=self.environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            process.wait(self.random.uniform(0, longest))
            return False
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return True

    def undisturbed(self, *arguments):
        self.environment["MXQ_CACHE"] = str(self.folder / "cache/undisturbed")
        started = time.monotonic()
        self.mxq(*arguments)
        self.environment["MXQ_CACHE"] = str(self.folder / "cache/killed")
        return time.monotonic() - started

    def test_measure(self):
        seconds = self.undisturbed("measure", self.model, "-o", self.folder / "undisturbed.csv")
        target = self.folder / "errors.csv"
        killed = 0
        for _ in range(KILLS):
            killed += self.run_and_kill(["measure", self.model, "-o", target], seconds)
            self.assertIn(target.read_text() if target.exists() else None,
                          (None, (self.folder / "undisturbed.csv").read_text()), "a partial table under the final name")
        self.assertGreater(killed, 0)
        self.mxq("measure", self.model, "-o", target)
        self.assertEqual(target.read_text(), (self.folder / "undisturbed.csv").read_text())

    def test_quantize(self):
        options = ["--bits", "3.25", "--shard-bytes", "100000"]
        seconds = self.undisturbed("quantize", self.model, "-o", self.folder / "undisturbed", *options)
        out = self.folder / "out"
        killed = 0
        for _ in range(KILLS):
            killed += self.run_and_kill(["quantize", self.model, "-o", out, *options], seconds)
            if out.exists():
                break
        self.assertGreater(killed, 0)
        if not out.exists():
            self.mxq("quantize", self.model, "-o", out, *options)
        names = sorted(p.name for p in (self.folder / "undisturbed").iterdir())
        self.assertEqual(sorted(p.name for p in out.iterdir()), names)
        for name in names:
            self.assertEqual((out / name).read_bytes(), (self.folder / "undisturbed" / name).read_bytes(), name)
        self.assertEqual([p.name for p in self.folder.glob(".*")], [], "a partial folder is left")


if __name__ == "__main__":
    unittest.main()
