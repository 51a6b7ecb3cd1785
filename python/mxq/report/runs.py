"""What a store of `mxq bench` holds (docs/bench.md)."""
import json
import os
import re
import sqlite3
from dataclasses import dataclass, field

APPLICATION = 0x6D787173
VERSION = 1
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

    @property
    def bits(self):
        """Bits a weight of the quantized matrices; None for the original."""
        bits = self.metrics.get("bits_per_parameter")
        return None if bits is None or bits >= 16 else bits

    @property
    def is_original(self): return self.bits is None

    @property
    def is_uniform(self): return bool(UNIFORM.fullmatch(self.config))

    @property
    def label(self): return f"{self.method} {self.config}".strip()

    def perplexity(self, text): return self.metrics.get(f"perplexity.{text}")

    def kl(self, text): return self.metrics.get(f"kl.{text}")

    @property
    def bytes(self):
        """All weight files (of others' results, the weights in memory); of the original, its weights in 16 bits."""
        found = self.metrics.get("file_bytes" if self.source == "mxq" else "weight_bytes")
        if found is None and "parameters" in self.metrics: found = 2 * self.metrics["parameters"]
        return found


class Results:
    """Runs, and on demand the JSON that their steps printed."""

    def __init__(self, runs, documents=lambda run, name: None):
        self.runs = runs
        self.document = documents

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


def read_store(path):
    if not path.is_file(): raise ReportError(f"read {path}: no such file")
    # Opened for writing the last reader takes SQLite's side files away; a store that cannot be written has none that matter.
    mode = "mode=rw" if os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK) else "immutable=1"
    store = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
    try:
        if store.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise ReportError(f"read {path}: no store of mxq bench")
        version = store.execute("PRAGMA user_version").fetchone()[0]
        if version != VERSION: raise ReportError(f"read {path}: version {version}; this mxq reads {VERSION}")
        runs = {row[0]: Run(*row[:6], seconds=row[7] - row[6] if row[7] and row[6] else None, error=row[8] or "")
                for row in store.execute("SELECT id, model, method, config, source, state, started, finished, error "
                                         "FROM runs ORDER BY sequence")}
        for run, name, value in store.execute("SELECT run, name, value FROM metrics"): runs[run].metrics[name] = value
    except (sqlite3.DatabaseError, KeyError) as e:
        raise ReportError(f"read {path}: {e}") from e

    def document(run, name):
        row = store.execute("SELECT json FROM documents WHERE run = ? AND name = ?", (run.id, name)).fetchone()
        return json.loads(row[0]) if row else None

    return Results(list(runs.values()), document)
