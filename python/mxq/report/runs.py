"""What a store of `mxq bench` holds (docs/reference/bench.md)."""
import json
import math
import os
import re
import sqlite3
from dataclasses import dataclass, field

APPLICATION = 0x6D787173
VERSION = 2
UNIFORM = re.compile(r"[a-z]+[1-9][0-9]*g[1-9][0-9]*")


class ReportError(Exception):
    """One line for the user."""


@dataclass
class Run:
    id: str
    model: str
    method: str
    config: str
    source: str
    state: str
    seconds: float | None
    error: str
    metrics: dict = field(default_factory=dict)
    infinite: dict = field(default_factory=dict)  # metrics that are not finite: they are said, and have no place on an axis
    is_uniform: bool = False  # one scheme for all matrices
    commands: list = field(default_factory=list)  # names of the user's own, that have printed JSON

    @property
    def bits(self):
        """Bits a weight of the quantized matrices; None for the original."""
        bits = self.metrics.get("bits_per_parameter")
        return None if bits is None or bits >= 16 else bits

    @property
    def is_original(self): return self.bits is None

    @property
    def label(self): return f"{self.method} {self.config}".strip()

    def perplexity(self, text): return self.metrics.get(f"perplexity.{text}")

    def kl(self, text): return self.metrics.get(f"kl.{text}")

    @property
    def bytes(self):
        """All weight files; of the original, its weights in 16 bits."""
        found = self.metrics.get("file_bytes")
        if found is None and self.is_original and "parameters" in self.metrics: found = 2 * self.metrics["parameters"]
        return found


class Results:
    """Runs, and on demand the JSON that their steps printed, and all that they said."""

    def __init__(self, runs, document=lambda run, name: None, log=lambda run: ""):
        self.runs = runs
        self.document = document
        self.log = log

    @property
    def done(self): return [run for run in self.runs if run.state == "done"]

    @property
    def models(self): return list(dict.fromkeys(run.model for run in self.done))

    def of(self, model): return [run for run in self.done if run.model == model]

    def original(self, model): return next((run for run in self.of(model) if run.is_original), None)

    def texts(self, model=None):
        runs = self.done if model is None else self.of(model)
        return sorted({name.split(".", 1)[1] for run in runs for name in run.metrics if name.startswith("perplexity.")})


def by_method(runs):
    """Methods in their order, each with its runs by rising bits."""
    found = {}
    for run in runs:
        if not run.is_original: found.setdefault(run.method, []).append(run)
    return {method: sorted(of, key=lambda run: run.bits) for method, of in found.items()}


def _mode(path):
    """How SQLite is to open a store: for writing where that can be, for then the last reader takes the side files away. Where it cannot, a
    writer elsewhere may still be at work, and what it has not moved into the store yet is in the -wal file; only without one is the store
    known to stand still."""
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK): return "mode=rw"
    log = path.with_name(path.name + "-wal")
    return "mode=ro" if log.is_file() and log.stat().st_size else "immutable=1"


def is_uniform(run, document):
    """A budget may be named after a scheme (what that scheme would take): whether that scheme is all there is, the plan says. Others'
    results have none; their names are believed."""
    if not UNIFORM.fullmatch(run.config): return False
    plan = document(run, "quantize")
    return plan is None or {matrix["scheme"] for matrix in plan.get("matrices", {}).values()} == {run.config}


def printable(value):
    """What a store holds, without characters that XML forbids or that move a terminal's cursor: lines and tabs stay."""
    if isinstance(value, str): return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in value)
    if isinstance(value, list): return [printable(item) for item in value]
    if isinstance(value, dict): return {printable(key): printable(item) for key, item in value.items()}
    return value


def _runs(store):
    runs = {}
    for id, model, method, config, source, state, started, finished, error in store.execute(
            "SELECT id, model, method, config, source, state, started, finished, error FROM runs "
            "WHERE superseded = 0 ORDER BY sequence"):
        runs[id] = Run(id, model, method, config, source, state,
                       finished - started if finished and started else None, error or "")
    for run, name, value in store.execute("SELECT run, name, value FROM metrics"):
        if not isinstance(value, (int, float)): raise ReportError(f"read the store: metric {name[:100]!r} of run {str(run)[:100]!r} is no number")
        if run in runs: (runs[run].metrics if math.isfinite(value) else runs[run].infinite)[name] = value
    for run, name in store.execute("SELECT run, name FROM documents WHERE name LIKE 'command.%' ORDER BY name"):
        if run in runs: runs[run].commands.append(name.removeprefix("command."))
    return runs


def read_store(path):
    if not path.is_file(): raise ReportError(f"read {path}: no such file")
    store = sqlite3.connect(f"{path.resolve().as_uri()}?{_mode(path.resolve())}", uri=True)
    # What commands print need not be UTF-8.
    store.text_factory = lambda raw: printable(raw.decode("utf-8", "replace"))

    def document(run, name):
        try:
            row = store.execute("SELECT json FROM documents WHERE run = ? AND name = ?", (run.id, name)).fetchone()
            return printable(json.loads(row[0])) if row else None
        except (sqlite3.Error, ValueError, RecursionError) as e:
            raise ReportError(f"read {path}: {name} of {run.label}: {e}") from e

    def log(run): return store.execute("SELECT log FROM runs WHERE id = ?", (run.id,)).fetchone()[0] or ""

    try:
        if store.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise ReportError(f"read {path}: no store of mxq bench")
        version = store.execute("PRAGMA user_version").fetchone()[0]
        if version != VERSION: raise ReportError(f"read {path}: version {version}; expected version {VERSION}")
        runs = _runs(store)
    except sqlite3.Error as e:
        raise ReportError(f"read {path}: {e}") from e
    for run in runs.values(): run.is_uniform = is_uniform(run, document)
    return Results(list(runs.values()), document, log)
