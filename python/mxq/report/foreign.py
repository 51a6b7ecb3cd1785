"""The authors' published data: results, error tables and distributions of weights (the columns of lm-quant-toolkit's CSVs)."""
import csv
import json
import math
import pathlib
import subprocess
import tempfile

from .runs import ReportError, Results, read_store

BUDGET = 4.51
PERCENTILES = ("0", "99", "99.9", "99.99", "100")


def _run(mxq, *arguments):
    done = subprocess.run([mxq, *arguments], capture_output=True, text=True, errors="replace")
    if done.returncode: raise ReportError(done.stderr.strip().removeprefix("mxq: error: "))


def _rows(path):
    """Pairs of a line's number and its cells by column."""
    try:
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            rows = csv.DictReader(file)
            return [(rows.line_num, row) for row in rows]
    except (OSError, csv.Error) as e:
        raise ReportError(f"read {path}: {e}") from e


def read_results(folder, mxq):
    """combined.csv, as `mxq bench import` reads it."""
    with tempfile.TemporaryDirectory() as scratch:
        store = pathlib.Path(scratch) / "store.db"
        _run(mxq, "bench", "import", store, folder / "combined.csv")
        runs = read_store(store).runs
    # They write 3_97 for 3.97, and give their files' folder no name of its own.
    for run in runs: run.config, run.source = run.config.replace("_", "."), folder.name
    return Results(runs)


def _finite(text):
    value = float(text)
    if not math.isfinite(value): raise ValueError(f"'{text}' is no finite number")
    return value


def read_weights(folder):
    """Model to rows as figures.weights takes them."""
    found = {}
    for path in sorted(folder.glob("wdist-*.csv")):
        rows = []
        for line, row in _rows(path):
            try:
                if row["module"].endswith("norm"): continue
                percentiles = {name: _finite(row["percentile_" + name.replace(".", "")]) for name in PERCENTILES}
                rows.append((row["module"], int(row["layer"]), percentiles, _finite(row["kurtosis"])))
            except KeyError as e:
                raise ReportError(f"read {path}: no column {e}") from e
            except (ValueError, TypeError, AttributeError) as e:
                raise ReportError(f"read {path}: line {line}: {e}") from e
        found[path.stem.removeprefix("wdist-")] = rows
    return found


def solve(folder, mxq):
    """Model to plan: their error tables solved by `mxq plan` at the budget of the paper's figure."""
    plans = {}
    for path in sorted(folder.glob("fnorm-*.csv")):
        name = path.stem.removeprefix("fnorm-")
        if "CLIP" in name: continue  # no layers of a language model
        with tempfile.TemporaryDirectory() as scratch:
            out = pathlib.Path(scratch) / "plan.json"
            _run(mxq, "plan", "--errors", path, "--bits", str(BUDGET), "--objective", "f", "-o", out, "--quiet")
            plans[name] = json.loads(out.read_text())
    return plans
