"""mxq report: pages and figures of small experiments."""
import csv
import html
import io
import itertools
import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from specs import ORIGINAL, spec, wikitext
from support import MXQ, SHARED, SOURCE, MxqTest, floats, read_safetensors, small_text_model

sys.path.insert(0, str(SOURCE / "python"))
from mxq.report.chart import evenly, log_ticks  # noqa: E402
from mxq.report.checkpoint import first_group  # noqa: E402
from mxq.report.figures.allocation import allocation  # noqa: E402
from mxq.report.figures.frontier import methods  # noqa: E402
from mxq.report.markdown import sections  # noqa: E402
from mxq.report.runs import ReportError, Results, Run, read_store  # noqa: E402
from mxq.report.style import COLORS, GREY, Styles, bar_style, scheme_style, series_style  # noqa: E402
from mxq.report.tables import all_runs, command_output, failures, fold, paper_table  # noqa: E402

NAME = 'a <i>model</i> & "more"'
METHOD = r'_<a href="x">rtn</a> $\frac 1$ %{x} <!--<script>alert(1)</script>'
SPEC = spec({"name": NAME, "path": "model"},
            [ORIGINAL, {"name": METHOD, "fit": "rtn", "uniform": ["b2g32", "b3g32", "b4g32"]},
             {"name": "mixed", "fit": "mse", "objective": "f2", "bits": [3, 3.5, 4]}],
            wikitext(), {"kl": ["wikitext"]}, store="results.db")
FIGURES = ["degradation", "duration", "frontier", "memory", "methods", "weights"]


# How colours look without one kind of cones: Machado, Oliveira and Fernandes 2009, severity 1, of linear RGB.
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]}


def times(matrix, vector): return [sum(m * v for m, v in zip(row, vector)) for row in matrix]


def lab(color, blindness):
    """CIE L*a*b* (D65) of #RRGGBB as it looks with that."""
    parts = [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    seen = [min(1, max(0, part)) for part in times(blindness, linear)]
    xyz = times([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], seen)
    roots = [ratio ** (1 / 3) if ratio > 0.008856 else 7.787 * ratio + 16 / 116
             for ratio in (part / white for part, white in zip(xyz, (0.9505, 1, 1.089)))]
    return 116 * roots[1] - 16, 500 * (roots[0] - roots[1]), 200 * (roots[1] - roots[2])


def drawing_python():
    """An interpreter with plotly and matplotlib; None without one."""
    for python in (os.environ.get("MXQ_PYTHON"), SOURCE / "build/venv/bin/python", "python3"):
        if not python: continue
        try:
            found = subprocess.run([python, "-c", "import plotly, matplotlib"], capture_output=True)
        except OSError:
            continue
        if found.returncode == 0: return str(python)
    return None


PYTHON = drawing_python()


class Parts(unittest.TestCase):
    def test_ticks_of_logarithmic_axes(self):
        self.assertEqual([label for _, label in log_ticks(0.1, 5)], ["0.1", "0.2", "0.5", "1", "2", "5"])
        self.assertEqual([label for _, label in log_ticks(1e-4, 1e3)], ["0.0001", "0.001", "0.01", "0.1", "1", "10", "100", "1000"])

    def test_ticks_where_all_values_are_close(self):
        self.assertEqual([label for _, label in log_ticks(7, 7)], ["7"])
        self.assertEqual([label for _, label in log_ticks(6.8, 7.1)], ["6.8", "7.1"])

    def test_evenly(self):
        self.assertEqual(evenly([1, 2], 3), [1, 2])
        self.assertEqual(evenly(list(range(11)), 3), [0, 5, 10])

    def test_methods_look_different(self):
        for names in (("color", "marker"), ("color", "dash")):
            self.assertEqual(len({tuple(series_style(i)[name] for name in names) for i in range(30)}), 30)
        self.assertEqual(len({tuple(bar_style(i).values()) for i in range(30)}), 30)
        self.assertNotIn(GREY, [series_style(i)["color"] for i in range(30)])

    def test_colours_for_the_colour_blind(self):
        # 2.3 is what one just tells apart, side by side.
        for name, blindness in BLINDNESS.items():
            for one, other in itertools.combinations(COLORS, 2):
                self.assertGreater(math.dist(lab(one, blindness), lab(other, blindness)), 15, (name, one, other))

    def test_families_look_different(self):
        looks = {tuple(scheme_style(family + "4g64").values()) for family in ("b", "nf", "fp", "km", "gauss")}
        self.assertEqual(len(looks), 5)

    def test_allocation_with_embeddings(self):
        matrices = {f"model.layers.{i}.mlp.{m}_proj": {"scheme": "b3g64", "bytes": 1000} for i in range(4) for m in ("up", "down")}
        matrices |= {"model.embed_tokens": {"scheme": "b4g64", "bytes": 50000}, "lm_head": {"scheme": "b8g64", "bytes": 100000}}
        plan = {"bits_per_parameter": 5, "matrices": matrices, "best_uniform": {"scheme": "b4g64", "bytes": 79000}}
        mixed, uniform = allocation(plan, "m", "m")[0].panels
        self.assertEqual([label for _, label in mixed.x.ticks], ["up", "down", "embed", "lm_head"])
        for panel, whole in ((mixed, 158000), (uniform, 79000)):
            line = panel.marks[-1]
            self.assertEqual(len(line.x), 10)
            self.assertAlmostEqual(sum(line.y) * 2**20, whole, delta=1)
            # Columns stand side by side.
            columns = sorted((x - w / 2, x + w / 2) for bars in panel.marks[:-1] for x, w in zip(bars.x, bars.width))
            self.assertEqual([end for _, end in columns[:-1]], [begin for begin, _ in columns[1:]])
        self.assertIn("50.0% of the mixed bytes", uniform.title)

    def test_loss_against_bytes_of_all_methods(self):
        made = lambda i, method, metrics: Run(str(i), "m", method, "b4g64", "mxq", "done", 1, "", {"bits_per_parameter": 4.25, "kl.t": 0.1,
                                                                                                  "perplexity.t": 5} | metrics)
        sized = [made(0, "x", {"file_bytes": 3 * 2**20}), made(1, "x", {"file_bytes": 2 * 2**20}), made(2, "y", {"file_bytes": 2**20})]
        styles = Styles(["x", "y"])
        drawn = lambda runs: methods(Results(runs), "m", "t", styles, "m")[0]
        self.assertEqual([(line.name, line.x) for line in drawn(sized).panels[0].marks], [("x", [2, 3]), ("y", [1])])
        self.assertEqual(drawn(sized).panels[0].x.title, "all weight files, MiB")
        self.assertIn("1 runs are left out", drawn(sized + [made(3, "y", {})]).caption)
        self.assertEqual(drawn([made(3, "y", {})]).panels[0].marks[0].x, [4.25])

    def test_sections_of_the_results(self):
        run = lambda config, bits: Run(config, "m", "x", config, "mxq", "done", 1, "", {"bits_per_parameter": bits} if bits else {})
        runs = [run("b4g64", 4.2540), run("nf4g64", 4.127), run("b4g64", 4.2765), run("b3g64", 3.254), run("4.2765", 4.2762), run("3.5", 3.4999),
                run("", None)]
        found = {shape: [(r.config, r.bits) for r in of] for shape, of in sections(runs).items()}
        self.assertEqual(found, {(4, 64): [("b4g64", 4.254), ("nf4g64", 4.127), ("b4g64", 4.2765), ("4.2765", 4.2762)],
                                 (3, 64): [("b3g64", 3.254)], None: [("3.5", 3.4999)]})


class Stores(unittest.TestCase):
    """What is read of a store, made here as docs/reference/bench.md describes one."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="mxq-store-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = self.folder / "results.db"

    def make(self):
        store = sqlite3.connect(self.path)
        self.addCleanup(store.close)
        store.executescript(f"""
            PRAGMA journal_mode = WAL; PRAGMA application_id = {0x6D787173}; PRAGMA user_version = 2;
            CREATE TABLE runs(id TEXT PRIMARY KEY, sequence INTEGER, model TEXT, method TEXT, config TEXT, source TEXT, state TEXT,
                              started REAL, finished REAL, error TEXT, log TEXT, version TEXT,
                              superseded INTEGER NOT NULL DEFAULT 0, estimate REAL, attempt TEXT NOT NULL DEFAULT '');
            CREATE TABLE metrics(run TEXT, name TEXT, value REAL);
            CREATE TABLE documents(run TEXT, name TEXT, json TEXT);""")
        return store

    @staticmethod
    def add(store, id, config="b4g64", state="done", method="x", **columns):
        columns |= {"id": id, "sequence": 0, "model": "m", "method": method, "config": config, "source": "mxq", "state": state}
        store.execute(f"INSERT INTO runs({', '.join(columns)}) VALUES({', '.join('?' * len(columns))})", list(columns.values()))

    def test_superseded_runs_are_left_out(self):
        with self.make() as store:
            self.add(store, "old", superseded=1)
            self.add(store, "new")
            store.executemany("INSERT INTO metrics VALUES(?, 'bits_per_parameter', ?)", [("old", 4), ("new", 5)])
        found = read_store(self.path).runs
        self.assertEqual([(run.id, run.method, run.bits) for run in found], [("new", "x", 5)])

    def test_a_budget_named_after_a_scheme_is_a_plan(self):
        with self.make() as store:
            for id, schemes in (("plan", ["b3g64", "b4g32"]), ("uniform", ["b3g64", "b3g64"]), ("imported", None)):
                self.add(store, id, "b3g64")
                if schemes is None: continue
                plan = {"matrices": {str(i): {"scheme": scheme, "bytes": 1} for i, scheme in enumerate(schemes)}}
                store.execute("INSERT INTO documents VALUES(?, 'quantize', ?)", (id, json.dumps(plan)))
        self.assertEqual({run.id: run.is_uniform for run in read_store(self.path).runs},
                         {"plan": False, "uniform": True, "imported": True})

    def test_text_that_is_not_utf_8(self):
        with self.make() as store:
            self.add(store, "a", state="failed", error=None)
            store.execute("UPDATE runs SET error = CAST(x'62616420ff' AS TEXT)")
        self.assertEqual(read_store(self.path).runs[0].error, "bad \ufffd")

    def test_what_is_not_finite_has_no_place_on_an_axis(self):
        with self.make() as store:
            self.add(store, "a")
            store.executemany("INSERT INTO metrics VALUES('a', ?, ?)", [("perplexity.t", float("inf")), ("kl.t", 2)])
        results = read_store(self.path)
        self.assertEqual((results.runs[0].metrics, results.runs[0].infinite), ({"kl.t": 2}, {"perplexity.t": float("inf")}))

    def test_a_document_that_is_no_json(self):
        with self.make() as store:
            self.add(store, "a", "b3g64")
            store.execute("INSERT INTO documents VALUES('a', 'quantize', '{')")
        with self.assertRaisesRegex(ReportError, "quantize of x b3g64"): read_store(self.path)

    def test_a_store_on_a_read_only_place_while_it_is_written(self):
        place = self.folder / "read-only"
        place.mkdir()
        store = self.make()
        self.add(store, "a")
        store.commit()
        if subprocess.run(["mount", "--bind", self.folder, place], capture_output=True).returncode:
            self.skipTest("folders cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", place])
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        # By another process: within one, SQLite shares a file's locks.
        read = [sys.executable, "-c", "import pathlib, sys; from mxq.report.runs import read_store; "
                "print([run.id for run in read_store(pathlib.Path(sys.argv[1])).runs])", place / "results.db"]
        ids = lambda: subprocess.run(read, env={**os.environ, "PYTHONPATH": str(SOURCE / "python")}, check=True, text=True,
                                     stdout=subprocess.PIPE).stdout.strip()
        self.assertTrue((self.folder / "results.db-wal").stat().st_size, "the run is not in the store itself yet")
        self.assertEqual(ids(), "['a']")
        store.close()
        self.assertFalse((self.folder / "results.db-wal").exists())
        self.assertEqual(ids(), "['a']")

    def test_what_commands_printed(self):
        printed = {"score": 0.5, "tasks": {"a": ["<b>", "\u00e9"]}}
        with self.make() as store:
            self.add(store, "a")
            self.add(store, "b", state="failed", error="no", log="$ mxq quantize\nno")
            store.execute("INSERT INTO documents VALUES('a', 'command.lm', ?)", (json.dumps(printed),))
            store.executemany("INSERT INTO metrics VALUES('a', ?, ?)", [("lm.score", 0.5), ("seconds.lm", 7), ("lmx", 1)])
        results = read_store(self.path)
        table = all_runs(results)
        self.assertEqual([table.rows[0][table.columns.index(name)] for name in ("lm.score", "seconds.lm")], [0.5, 7])
        self.assertNotIn("lmx", table.columns)
        self.assertEqual(json.loads(command_output(results).rows[0][4].text), printed)
        self.assertEqual(failures(results).rows[0][4].text, "$ mxq quantize\nno")

    def test_names_without_control_characters(self):
        with self.make() as store:
            self.add(store, "a", "b3g64", method="\x1b[31m\x00\u202ex")
            plan = {"matrices": {"model.layers.0.\x07q": {"scheme": "b3g64", "bytes": 1}}}
            store.execute("INSERT INTO documents VALUES('a', 'quantize', ?)", (json.dumps(plan),))
        results = read_store(self.path)
        self.assertEqual(results.runs[0].method, "\ufffd[31m\ufffd\ufffdx")
        self.assertEqual(list(results.document(results.runs[0], "quantize")["matrices"]), ["model.layers.0.\ufffdq"])

    def test_damaged_stores_are_one_line(self):
        """Each store, and what is wrong with it."""
        if not PYTHON: self.skipTest("no Python with plotly and matplotlib (scripts/setup.sh --report)")
        whole = {"bits_per_parameter": 3, "matrices": {"model.layers.0.mlp.up_proj": {"scheme": "b3g64", "bytes": 9}},
                 "best_uniform": {"scheme": "b3g64", "bytes": 9}}
        harms = {"UPDATE metrics SET value = -1": "", "UPDATE metrics SET value = 0": "", "UPDATE metrics SET value = 'text'": "is no number",
                 "UPDATE metrics SET value = x'00'": "is no number", "UPDATE metrics SET value = 1e308": None,
                 "UPDATE runs SET model = NULL": "damaged", "UPDATE runs SET config = x'ff'": None, "UPDATE runs SET started = 'x'": "damaged",
                 "UPDATE documents SET json = '[]'": "damaged", "UPDATE documents SET json = '{\"matrices\": [1]}'": "damaged",
                 f"UPDATE documents SET json = '{'[' * 99999}'": "recursion", "UPDATE documents SET json = x'ff'": "quantize of",
                 "UPDATE runs SET model = printf('%.300c', 'm'), method = printf('%.300c', 'x')": "", "DROP TABLE documents": "documents"}
        for number, (harm, says) in enumerate(harms.items()):
            self.path = self.folder / f"{number}.db"
            with self.make() as store:
                for id in "ab":
                    self.add(store, id, f"b{ord(id) % 7}g64", started=1, finished=5)
                    store.execute("INSERT INTO documents VALUES(?, 'quantize', ?)", (id, json.dumps(whole)))
                    store.executemany("INSERT INTO metrics VALUES(?, ?, ?)", [(id, name, 3 + ord(id) % 7) for name in (
                        "bits_per_parameter", "perplexity.t", "kl.t", "file_bytes", "quantize_seconds", "quantize_peak_rss_bytes")])
                store.execute(harm)
            chosen = {"store": str(self.path), "output": str(self.folder / f"out{number}"), "foreign": "", "checkpoint": "", "formats": ["svg"],
                      "only": "", "markdown": str(self.folder / f"{number}.md"), "introduction": "", "title": "t", "program": MXQ}
            done = subprocess.run([PYTHON, "-m", "mxq.report", json.dumps(chosen)], capture_output=True, text=True,
                                  env={**os.environ, "PYTHONPATH": str(SOURCE / "python")})
            self.assertNotIn("Traceback", done.stderr, harm)
            self.assertRegex(done.stderr, r"\A(mxq: error: [^\n]*\n)?\Z", harm)
            if says is not None:
                self.assertEqual(done.returncode, 1 if says else 0, f"{harm}: {done.stderr}")
                self.assertIn(says, done.stderr, harm)

    def test_long_texts_are_cut(self):
        folded = fold(["x" * 10**6] * 3 + ["y"])
        self.assertLess(sum(len(one.text) for one in folded), 1.6e6)
        self.assertTrue(folded[0].text.endswith("625000 more, in the store"))
        self.assertEqual(folded[3].text, "y")

    def test_runs_of_equal_names_have_rows_of_their_own(self):
        runs = [Run(str(i), "m", "x", "b4g64", source, "done", 1, "", {"bits_per_parameter": 4.25, "perplexity.t": 5 + i})
                for i, source in enumerate(("mxq", "theirs"))]
        self.assertEqual([row[3] for row in paper_table(Results(runs)).rows], [5, 6])


class Report(MxqTest):
    def setUp(self):
        super().setUp()
        if PYTHON: self.environment["MXQ_PYTHON"] = PYTHON

    def bench(self):
        small_text_model(self.folder / "model")
        (self.folder / "text").write_text("The tower is 324 metres tall, about the same height as an 81-storey building. " * 6)
        (self.folder / "spec.toml").write_text(SPEC)
        self.mxq("bench", self.folder / "spec.toml")
        return self.folder / "results.db"

    def report(self, *arguments):
        if not PYTHON: self.skipTest("no Python with plotly and matplotlib (scripts/setup.sh --report)")
        self.mxq("report", *arguments)

    @staticmethod
    def data(page):
        return json.loads(re.search(r'<script type="application/json" id="report">(.*?)</script>', page, re.S)[1])

    def test_page_and_figures(self):
        store = self.bench()
        out = self.folder / "report"
        self.mxq("quantize", self.folder / "model", "-o", self.folder / "packed", "--uniform", "b3g32", "--fit", "mse", "--normalize",
                 "none")
        self.report(store, "-o", out, "--checkpoint", self.folder / "packed", "--markdown", self.folder / "results.md")
        names = {path.name for path in (out / "figures").iterdir()}
        for figure in [*FIGURES, "allocation", "packing"]:
            for form, magic in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
                found = [name for name in names if name.startswith(figure + "-") and name.endswith(form)]
                self.assertTrue(found, f"{figure}.{form} of {names}")
                self.assertTrue((out / "figures" / found[0]).read_bytes().startswith(magic))
        page = (out / "index.html").read_text()
        own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
        self.assertNotRegex(own, r"""(src|href)=["'](?!#|data:)""", "nothing is fetched")
        self.assertNotRegex(own, "<i>|<a href=.x|<!--")
        self.assertNotIn("<script>alert", page)
        self.assertIn("\\u003cscript>alert(1)\\u003c/script>", page)
        # Values are those of the export.
        rows = list(csv.DictReader(io.StringIO(self.mxq("bench", "export", store))))
        table = self.data(page)["tables"][1]
        self.assertEqual(len(table["rows"]), 7)
        self.assertEqual({row[0] for row in table["rows"]}, {NAME})
        at = table["columns"].index
        for row, exported in zip(table["rows"], rows):
            self.assertEqual((row[at("method")], row[at("config")]), (exported["algo"], exported["config"]))
            self.assertAlmostEqual(row[at("perplexity, wikitext")], float(exported["ppl_wikitext"]), delta=1e-3)
            if exported["bpp"]: self.assertAlmostEqual(row[at("bits")], float(exported["bpp"]), delta=1e-5)
        frontier = self.data(page)["charts"][0]["data"]
        # Plotly reads HTML in names and texts.
        self.assertEqual(html.unescape(frontier[0]["name"]), METHOD)
        for text in [frontier[0]["name"], *frontier[0]["text"]]: self.assertNotRegex(text, "<(?!br>)")
        planned = next(trace for trace in frontier if trace["name"] == "mixed")
        expected = sorted(((float(r["file_bytes"]) / 2**20, float(r["kl.wikitext"])) for r in rows if r["algo"] == "mixed"),
                          key=lambda pair: pair[0])
        for x, y, (size, kl) in zip(planned["x"], planned["y"], expected, strict=True):
            self.assertAlmostEqual(x, size, delta=1e-5 * size)
            self.assertAlmostEqual(y, kl, delta=1e-5 * kl)
        markdown = (self.folder / "results.md").read_text()
        for row in rows[1:]:
            method = re.sub(r"([\\_<>|*`])", r"\\\1", row["algo"])  # nothing in a name is Markdown or HTML
            self.assertNotRegex(markdown, r"(?<!\\)<(?!!-- mxq report)")
            self.assertIn(f"| {method} | `{row['config']}` | {float(row['ppl_wikitext']):.2f} |", markdown)
        # Again: the same bytes.
        self.report(store, "-o", self.folder / "again", "--formats", "svg", "--only", "frontier|weights")
        self.assertEqual((self.folder / "again/index.html").read_text(), self.page_without_packing(out))
        for path in (self.folder / "again/figures").iterdir():
            self.assertEqual(path.read_bytes(), (out / "figures" / path.name).read_bytes())
        self.assertEqual(len(list((self.folder / "again/figures").iterdir())), 2)

    def page_without_packing(self, out):
        self.report(self.folder / "results.db", "-o", out, "--formats", "none")
        return (out / "index.html").read_text()

    def test_group_of_a_checkpoint(self):
        small_text_model(self.folder / "model")
        for scheme in ("b3g32", "b4g64", "b2g128"):
            packed, plain = self.folder / f"packed-{scheme}", self.folder / f"plain-{scheme}"
            self.mxq("quantize", self.folder / "model", "-o", packed, "--uniform", scheme, "--fit", "mse", "--normalize", "none")
            self.mxq("dequantize", packed, "-o", plain, "--dtype", "f32")
            group = first_group(packed)
            self.assertEqual(group.scheme, scheme)
            weights = read_safetensors(plain / "model.safetensors")[group.matrix + ".weight"]
            for ours, theirs in zip(group.weights, floats(weights)):
                self.assertAlmostEqual(ours, theirs, delta=2e-3 * max(abs(w) for w in group.weights))

    @unittest.skipUnless((SHARED / "data/mxq-paper").is_dir(), "no published data (set MXQ_SHARED)")
    def test_the_authors_figures(self):
        out = self.folder / "report"
        self.report("-o", out, "--foreign", SHARED / "data/mxq-paper", "--formats", "svg", "--only", "degradation|allocation")
        names = {path.name for path in (out / "figures").iterdir()}
        self.assertLessEqual({"degradation-llama-2-7b-hf-wikitext.svg", "allocation-authors-llama-2-7b-hf.svg"}, names)
        page = self.data((out / "index.html").read_text())
        with open(SHARED / "data/mxq-paper/combined.csv") as file: rows = list(csv.DictReader(file))
        self.assertEqual(len(page["tables"][0]["rows"]), len(rows))

    def test_bad_input(self):
        store = self.folder / "results.db"
        out = self.folder / "report"
        self.refuses("report", "-o", out, status=2, says="STORE, or --foreign")
        self.refuses("report", store, "-o", out, "--formats", "gif", status=2, says=("gif", "svg"))
        self.refuses("report", store, "-o", out, says=("results.db", "no such file"))
        store.write_text("no store" * 1000)
        self.refuses("report", store, "-o", out, says=("results.db", "not a database"))
        store.unlink()
        with sqlite3.connect(store) as made: made.execute("CREATE TABLE x(y)")
        self.refuses("report", store, "-o", out, says="no store of mxq bench")
        store.unlink()
        (self.folder / "empty.csv").write_text("model,algo,config\n")
        self.mxq("bench", "import", store, self.folder / "empty.csv")
        self.refuses("report", store, "-o", out, says="nothing is done yet")
        with sqlite3.connect(store) as made: made.execute("PRAGMA user_version = 9")
        self.refuses("report", store, "-o", out, says=("version 9", "2"))
        self.refuses("report", "-o", out, "--foreign", self.folder, says="combined.csv")
        (self.folder / "combined.csv").write_text("model,algo,config,bpp\nx,hqq,b4g64,much\n")
        self.refuses("report", "-o", out, "--foreign", self.folder, says=("combined.csv", "much"))
        (self.folder / "combined.csv").write_text("model,algo,config,bpp,ppl_c4\nx,hqq,b4g64,4.25,inf\n")
        self.refuses("report", "-o", out, "--foreign", self.folder, says=("combined.csv", "line 2", "inf"))
        (self.folder / "combined.csv").write_text("model,algo,config,bpp,ppl_c4\nx,hqq,b4g64,4.25,7\n")
        (self.folder / "wdist-x.csv").write_text("module,layer,percentile_0,percentile_99,percentile_999,percentile_9999,percentile_100,"
                                                 "kurtosis\nq,0,0,1,2,3,4,3\nq,1,0,1,2,3,inf,3\n")
        self.refuses("report", "-o", out, "--foreign", self.folder, says=("wdist-x.csv", "line 3", "inf"))

    def test_what_others_wrote_stays(self):
        store, out, markdown = self.bench(), self.folder / "report", self.folder / "results.md"
        if not PYTHON: self.skipTest("no Python with plotly and matplotlib (scripts/setup.sh --report)")
        figures = ("--formats", "svg", "--only", "frontier")
        self.mxq("quantize", self.folder / "model", "-o", self.folder / "packed", "--uniform", "b3g32", "--fit", "mse", "--normalize", "none")
        out.mkdir()
        for name in ("index.html", "figures", "index.html.partial"):
            (out / name).write_text("mine")
            if name != "index.html.partial": self.refuses("report", store, "-o", out, *figures, says=name)
            if name != "index.html.partial": (out / name).unlink()
        markdown.write_text("# Mine\n")
        self.refuses("report", store, "-o", out, *figures, "--markdown", markdown, says=("results.md", "did not write it"))
        markdown.unlink()
        self.report(store, "-o", out, *figures, "--markdown", markdown)
        (out / "figures/mine.svg").write_text("mine")
        self.report(store, "-o", out, *figures, "--markdown", markdown)
        self.assertEqual((out / "index.html.partial").read_text(), "mine")
        self.assertEqual((out / "figures/mine.svg").read_text(), "mine")
        drawn = next(path for path in (out / "figures").iterdir() if path.name.startswith("frontier"))
        drawn.write_text(drawn.read_text() + "<!-- touched up -->")
        self.refuses("report", store, "-o", out, *figures, says=(drawn.name, "not as mxq report wrote it"))
        self.refuses("report", store, "-o", self.folder / "packed/report", "--checkpoint", self.folder / "packed", *figures,
                     says="inside the checkpoint")
        self.refuses("report", store, "-o", self.folder / "packed", "--checkpoint", self.folder / "packed", *figures, says="is the checkpoint")
        self.refuses("report", store, "-o", store, *figures, says="is the store")
        for own in (store, self.folder / "spec.toml"):
            self.refuses("report", store, "-o", self.folder / "new", "--introduction", self.folder / "spec.toml", "--markdown", own, *figures,
                         says=own.name)
        for page in (self.folder / "new", self.folder / "new/index.html"):
            self.refuses("report", store, "-o", self.folder / "new", "--markdown", page, *figures, says="the page is written to")
        for redirection in (">/dev/full", ">&-"):
            line = f"'{MXQ}' report '{store}' -o '{out}' --formats none {redirection}"
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=self.environment)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertRegex(done.stderr, r"\Amxq: error: write standard output: .*\n\Z")
        self.refuses("report", store, "-o", self.folder / "new", "--formats", "svg", "--only", "(([a-z0-9-]+)+)+!", says="takes too long")

    def test_without_what_draws(self):
        self.environment["MXQ_PYTHON"] = "no-such-python"
        self.refuses("report", "x.db", "-o", self.folder / "report", says="no-such-python")
        bare = self.folder / "bare"
        bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
        bare.chmod(0o755)
        self.environment["MXQ_PYTHON"] = str(bare)
        (self.folder / "one.csv").write_text("model,algo,config,bpp\nx,hqq,b4g64,4.25\n")
        self.mxq("bench", "import", self.folder / "one.db", self.folder / "one.csv")
        self.refuses("report", self.folder / "one.db", "-o", self.folder / "report", says=("plotly", "pip install"))


if __name__ == "__main__":
    unittest.main()
