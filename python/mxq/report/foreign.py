"""The authors' published data: results, error tables and distributions of weights (the columns of lm-quant-toolkit's CSVs)."""
import csv
import json
import pathlib
import subprocess
import tempfile

from .runs import ReportError, Results, Run

GIB = 2**30
BUDGET = 4.51
COLUMNS = {"bpp": ("bits_per_parameter", 1), "ppl_wikitext": ("perplexity.wikitext", 1), "ppl_c4": ("perplexity.c4", 1),
           "load_mem_allot": ("weight_bytes", GIB), "model_storage_size": ("file_bytes", GIB), "quant_duration": ("quantize_seconds", 1),
           "param_count": ("parameters", 1)}


def _rows(path):
    try:
        with open(path, newline="") as file: return list(csv.DictReader(file))
    except OSError as e:
        raise ReportError(f"read {path}: {e.strerror}") from e


def read_results(folder):
    """combined.csv."""
    runs = []
    for i, row in enumerate(_rows(folder / "combined.csv")):
        try:
            metrics = {name: float(row[column]) * unit for column, (name, unit) in COLUMNS.items() if row.get(column)}
            method = " ".join(part for part in (row["algo"], row.get("attempt")) if part)
            runs.append(Run(f"{folder.name}-{i}", row["model"], method, row["config"].replace("_", "."), folder.name, "done", None, "", metrics))
        except (KeyError, ValueError) as e:
            raise ReportError(f"read {folder / 'combined.csv'}: line {i + 2}: {e}") from e
    return Results(runs)


def read_weights(folder):
    """Model to rows as figures.weights takes them."""
    found = {}
    for path in sorted(folder.glob("wdist-*.csv")):
        rows = [(row["module"], int(row["layer"]), {name: float(row["percentile_" + name.replace(".", "")])
                 for name in ("0", "99", "99.9", "99.99", "100")}, float(row["kurtosis"])) for row in _rows(path)
                if not row["module"].endswith("norm")]
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
            done = subprocess.run([mxq, "plan", "--errors", path, "--bits", str(BUDGET), "--objective", "f", "-o", out, "--quiet"],
                                  capture_output=True, text=True)
            if done.returncode: raise ReportError(f"mxq plan --errors {path}: {done.stderr.strip()}")
            plans[name] = json.loads(out.read_text())
    return plans
