"""mxq bench: experiments that are killed, failed, shared between processes and read by others."""
import csv
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
import unittest
from pathlib import Path

from specs import ORIGINAL, spec, wikitext
from support import MXQ, MxqTest, small_disk, small_text_model

SEED = 20261122
TEXT = "The tower is 324 metres tall, about the same height as an 81-storey building. " * 6

SCHEMES = ["b2g32", "b3g32", "b4g32", "b8g32"]
SPEC = spec({"name": "small", "path": "model"},
            [{"name": "rtn", "fit": "rtn", "uniform": SCHEMES}, {"name": "hqq", "fit": "hqq", "uniform": SCHEMES},
             {"name": "mixed", "fit": "mse", "objective": "f2", "bits": [3, 4, 5]}, ORIGINAL],
            wikitext(), {"kl": ["wikitext"], "base-logits": True}, store="results.db")
RUNS = 12
# In the place of one of the twelve, on a real model: the default, whose sensitivities and calibration take several phases.
DEFAULT = """bits = [3, 4]
[[methods]]
name = "default"
bits = [3.25]
schemes = "b2g64,b4g64"
sample-tokens = 32
calibration-tokens = 128
"""


class BenchTest(MxqTest):
    """A spec of twelve runs of a small model, or of that which MXQ_BENCH_MODEL names."""

    def setUp(self):
        super().setUp()
        spec = SPEC
        if real := os.environ.get("MXQ_BENCH_MODEL"):
            spec = spec.replace('path = "model"', f'path = "{Path(real).resolve()}"')
            spec = spec.replace("stride = 64\n", "stride = 64\ntokens = 128\n").replace("bits = [3, 4, 5]\n", DEFAULT)
        else:
            small_text_model(self.folder / "model")
        (self.folder / "text").write_text(TEXT)
        self.spec = self.folder / "spec.toml"
        self.spec.write_text(spec)
        self.store = self.folder / "results.db"

    def rows(self, store=None, *more):
        return list(csv.DictReader(io.StringIO(self.mxq("bench", "export", store or self.store, *more))))

    def results(self, store=None):
        """What does not depend on the machine."""
        numbers = ("bpp", "kl.wikitext", "perplexity.wikitext", "matrix_bytes", "file_bytes")
        return {(r["model"], r["algo"], r["config"]): tuple(r[n] for n in numbers) for r in self.rows(store)
                if r["state"] == "done"}

    def count_ends(self):
        """Has the store itself note each time that a run ends, whoever ends it."""
        with sqlite3.connect(self.store, timeout=20) as store:
            store.execute("CREATE TABLE ends(id TEXT)")
            store.execute("CREATE TRIGGER ended AFTER UPDATE OF state ON runs WHEN new.state = 'done' "
                          "BEGIN INSERT INTO ends VALUES(new.id); END")

    def ends(self):
        with sqlite3.connect(self.store, timeout=20) as store:
            return [row[0] for row in store.execute("SELECT id FROM ends")]

    def empty_csv(self):
        (self.folder / "empty.csv").write_text("model,algo,config\n")
        return self.folder / "empty.csv"


class Survival(BenchTest):
    def test_killed_five_times(self):
        print(f"seed {SEED}")
        generator = random.Random(SEED)
        began = time.monotonic()
        plain = self.folder / "plain.toml"  # the original runs each time
        plain.write_text(self.spec.read_text().replace("base-logits = true\n", ""))
        self.mxq("bench", plain, "--store", self.folder / "undisturbed.db")
        seconds = time.monotonic() - began
        print(f"{RUNS} runs by one process: {seconds:.1f} s")
        # What these have measured would leave the others little to be killed in.
        self.environment["MXQ_CACHE"] = str(self.folder / "cache/disturbed")
        self.mxq("bench", "import", self.store, self.empty_csv())
        self.count_ends()
        for _ in range(5):
            process = subprocess.Popen([MXQ, "bench", str(self.spec)], env=self.environment, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            # A sixth of the whole at most, so that the fifth still finds it at work.
            with self.assertRaises(subprocess.TimeoutExpired): process.wait(generator.uniform(0, seconds / 6))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        self.mxq("bench", self.spec)
        self.assertEqual(self.results(), self.results(self.folder / "undisturbed.db"))
        ends = self.ends()
        self.assertEqual(len(ends), RUNS)
        self.assertEqual(len(set(ends)), RUNS, "none is run twice to its end")
        self.assertEqual(list(self.folder.glob("results.db.work*")), [])

    def test_two_processes_on_one_store(self):
        self.mxq("bench", "import", self.store, self.empty_csv())
        self.count_ends()
        began = time.monotonic()
        workers = [subprocess.Popen([MXQ, "bench", str(self.spec), "--json", "--quiet"], env=self.environment,
                                    stdout=subprocess.PIPE, text=True) for _ in range(2)]
        reports = [json.loads(worker.communicate(timeout=600)[0]) for worker in workers]
        print(f"{RUNS} runs by two processes: {time.monotonic() - began:.1f} s, {[r['done'] for r in reports]} each")
        ends = self.ends()
        self.assertEqual((len(ends), len(set(ends))), (RUNS, RUNS))
        self.assertEqual(sum(r["done"] for r in reports), RUNS)
        self.assertTrue(all(r["done"] > 0 for r in reports), reports)


class Bench(BenchTest):
    def test_results(self):
        report = self.mxq_json("bench", self.spec)
        self.assertEqual((report["done"], report["failed"], report["known"]), (RUNS, 0, 0))
        results = self.results()
        self.assertEqual(len(results), RUNS)
        # Each run is what the commands by hand give.
        out = self.folder / "out"
        made = self.mxq_json("quantize", self.folder / "model", "-o", out, "--uniform", "b3g32", "--fit", "hqq")
        found = self.mxq_json("eval", out, "--against", self.folder / "model", "--text", self.folder / "text", "--window",
                              64, "--stride", 64)
        row = [float(x) for x in results["small", "hqq", "b3g32"]]
        expected = [made["bits_per_parameter"], found["kl"]["mean"], found["perplexity"], made["bytes"],
                    sum(size for name, size in made["files"].items() if name.endswith(".safetensors"))]
        for ours, theirs in zip(row, expected):
            self.assertAlmostEqual(ours, theirs, delta=1e-9 * abs(theirs))
        self.assertEqual(results["small", "original", ""][1], "0")
        rows = self.rows()
        self.assertEqual(rows[0]["ppl_wikitext"], rows[0]["perplexity.wikitext"], "the authors' column")
        self.assertEqual([p.name for p in self.folder.glob("results.db.work*")], [], "nothing else is left")
        again = self.mxq_json("bench", self.spec)
        self.assertEqual((again["done"], again["known"]), (0, RUNS))
        status = self.mxq_json("bench", "status", self.spec)
        self.assertEqual((status["done"], status["queued"], status["running"], status["workers"]), (RUNS, 0, 0, 0))

    def test_other_content_is_another_run(self):
        self.mxq("bench", self.spec)
        (self.folder / "text").write_text(TEXT + "And more.")
        self.assertEqual(self.mxq_json("bench", self.spec)["done"], RUNS)
        self.spec.write_text(SPEC.replace('name = "hqq"', 'name = "half-quadratic"'))
        self.assertEqual(self.mxq_json("bench", self.spec)["done"], 0, "names are no content")
        self.assertEqual(len(self.rows()), RUNS, "earlier ones are not shown any more")
        self.assertEqual(len(self.rows(self.store, "--all")), 2 * RUNS)
        self.assertEqual({r["superseded"] for r in self.rows(self.store, "--all")}, {"0", "1"})
        self.assertEqual(self.mxq_json("bench", "status", self.store)["done"], RUNS)

    def test_failures_stop_nothing(self):
        self.spec.write_text(SPEC + """
[[metrics.commands]]
name = "picky"
run = ["sh", "-c", "test -e good && echo '{\\"score\\": 7, \\"note\\": \\"x\\"}' || { echo not yet >&2; exit 4; }", "{checkpoint}"]
""")
        done = self.run_mxq("bench", self.spec)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"0 done before; {RUNS} failed now", done.stdout)
        self.assertIn("failed: small hqq b3g32: command.picky: exit code 4: not yet", done.stderr)
        self.assertRegex(done.stderr, f"mxq: error: bench: {RUNS} of {RUNS} runs failed \\(.*--retry")
        log = self.mxq("bench", "log", self.store, "small", "hqq", "b3g32")
        self.assertIn(" --base-logits ", log)
        self.assertRegex(log, r"(?s)^small hqq b3g32: failed: command.picky.*\$ .*mxq quantize .*\$ sh -c .*not yet\n$")
        self.assertIn("small hqq b3g32", self.mxq("bench", "log", self.spec, self.rows()[5]["id"]))
        self.refuses("bench", "log", self.store, "small", "hqq", says=("no runs 'small hqq'", "status"))
        # Beside the spec, which is where commands run.
        (self.folder / "good").touch()
        done = self.run_mxq("bench", self.spec)
        self.assertEqual(done.returncode, 1, "not again without being told")
        self.assertIn(f"{RUNS} failed before", done.stdout)
        self.assertEqual(self.mxq_json("bench", self.spec, "--retry", "--dry-run")["runs"], RUNS)
        self.assertEqual(self.mxq_json("bench", self.spec, "--retry")["done"], RUNS)
        self.assertEqual({r["picky.score"] for r in self.rows()}, {"7"})

    def test_a_budget_out_of_reach_stops_nothing(self):
        self.spec.write_text(SPEC.replace("bits = [3, 4, 5]", "bits = [0.5, 4]"))
        self.assertRegex(self.mxq("bench", self.spec, "--dry-run"), "small mixed 0.5 .*expected at least .* bits per parameter")
        done = self.run_mxq("bench", self.spec)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "failed: small mixed 0.5: .*expected at least .* bits per parameter")
        states = {(r["algo"], r["config"]): r["state"] for r in self.rows()}
        self.assertEqual([run for run, state in states.items() if state == "failed"], [("mixed", "0.5")])
        self.assertEqual(len(states), RUNS - 1)

    def test_missing_command(self):
        self.spec.write_text(SPEC + '[[metrics.commands]]\nname = "x"\nrun = ["no-such-program"]\n')
        self.refuses("bench", self.spec, status=2, says=("line 31: run = 'no-such-program'", "PATH"))

    def test_dry_run(self):
        text = self.mxq("bench", self.spec, "--dry-run")
        self.assertIn("small hqq b2g32", text)
        self.assertIn(f"{RUNS} runs", text)
        self.assertFalse(self.store.exists())
        self.assertEqual(self.mxq_json("bench", self.spec, "--dry-run")["runs"], RUNS)
        part = self.folder / "part.toml"
        part.write_text(SPEC.replace("bits = [3, 4, 5]", "bits = [3]"))
        self.mxq("bench", part)
        before = self.store.read_bytes()
        text = self.mxq("bench", self.spec, "--dry-run")
        self.assertNotIn("small hqq b2g32", text)
        self.assertIn("small mixed 4", text)
        self.assertIn(f"2 runs to do, {RUNS - 2} done", text)
        self.assertEqual(self.store.read_bytes(), before)

    def test_full_disk(self):
        store = small_disk(self, "2m") / "results.db"
        report = self.mxq_json("bench", self.spec, "--store", store)
        self.assertEqual(report["done"], RUNS)
        before = self.results(store)
        filler = store.parent / "filler"
        more = self.folder / "more.toml"
        more.write_text(SPEC.replace('name = "small"', 'name = "again"').replace('uniform = ["b2g32", "b3g32", "b4g32", "b8g32"]',
                                                                           'uniform = ["b2g64", "b3g64"]') +
                        f"""
[[metrics.commands]]
name = "fill"
run = ["sh", "-c", "cat /dev/zero > {filler} 2>/dev/null; echo 1"]
""")
        # The checkpoints elsewhere, so that nothing but the test makes room.
        (self.folder / "work").mkdir()
        Path(f"{store}.work").symlink_to(self.folder / "work")
        worker = subprocess.Popen([MXQ, "bench", str(more), "--store", str(store)], env=self.environment,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        waits = 0
        for line in worker.stderr:
            self.assertRegex(line, "^mxq: use store .*results.db: (database or disk is full|disk I/O error); waiting")
            waits += 1
            filler.unlink(missing_ok=True)
        self.assertEqual((worker.wait(), waits > 0), (0, True))
        worker.stderr.close()
        # Full from the beginning on.
        subprocess.run(["sh", "-c", f"cat /dev/zero > {filler}"], stderr=subprocess.DEVNULL)
        more.write_text(more.read_text().replace('"b2g64"', '"b4g64"'))
        done = self.run_mxq("bench", more, "--store", store)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "^mxq: error: .*(has .* left|disk I/O error|disk is full)\n$")
        filler.unlink()
        self.assertEqual(before.items() - self.results(store).items(), set(), "nothing is lost")
        more.write_text(more.read_text().replace("cat /dev/zero", "echo"))
        self.mxq("bench", more, "--store", store)
        results = self.results(store)
        self.assertEqual(len(results), RUNS + 10)
        self.assertEqual({key: results[key] for key in before}, before)

    def test_locked_store(self):
        self.mxq("bench", "import", self.store, self.empty_csv())
        store = sqlite3.connect(self.store, isolation_level=None)
        store.execute("BEGIN IMMEDIATE")
        done = self.run_mxq("bench", self.spec)
        self.assertEqual(done.returncode, 1)
        self.assertIn("locked by another program", done.stderr)
        self.assertEqual(self.rows(), [], "reading needs no lock")
        store.execute("ROLLBACK")
        store.close()
        self.assertEqual(self.mxq_json("bench", self.spec)["done"], RUNS)

    def test_bad_input(self):
        self.refuses("bench", self.folder / "absent.toml", says="absent.toml")
        self.refuses("bench", status=2, says="no spec")
        self.refuses("bench", "status", self.folder / "absent.db", says="no such file")
        self.spec.write_text(SPEC.replace("[[methods]]", "[[metods]]", 1))
        self.refuses("bench", self.spec, status=2, says=("unknown key 'metods'", "'methods'", "line 10"))
        self.spec.write_text(SPEC + '[[methods]]\nname = "again"\nfit = "hqq"\nuniform = ["b3g32"]\n')
        self.assertIn("runs 'small hqq b3g32' and 'small again b3g32' are the same", self.run_mxq("bench", self.spec).stderr)
        self.store.unlink()
        self.spec.write_text(SPEC)
        self.store.write_text("no store" * 1000)
        self.refuses("bench", self.spec, status=2, says=("results.db", "mxq did not write it"))
        self.store.unlink()
        self.mxq("bench", "import", self.store, self.empty_csv())
        with sqlite3.connect(self.store) as store: store.execute("PRAGMA user_version = 99")
        self.refuses("bench", "status", self.store, says=("version 99", "2"))


if __name__ == "__main__":
    unittest.main()
