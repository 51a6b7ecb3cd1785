"""Tables: all runs, and the paper's Table 2 of them."""
import json
from collections import Counter
from dataclasses import dataclass

from .chart import GIB, MIB


@dataclass
class Table:
    title: str
    caption: str
    columns: list  # names
    rows: list  # of texts, numbers and Folded; None: nothing


@dataclass
class Folded:
    """A long text, of which one sees a line until one wants the rest."""
    line: str
    text: str


# Characters of all folded texts of a table: pages stay small.
FOLDED = 1_500_000


def fold(texts):
    """Each cut to its share."""
    most = FOLDED // max(1, len(texts))
    return [Folded(f"{len(text)} characters", text if len(text) <= most else text[:most] + f"\n... {len(text) - most} more, in the store")
            for text in texts]


def said(run, name): return run.metrics.get(name, run.infinite.get(name))


def all_runs(results):
    texts = results.texts()
    columns = ["model", "method", "config", "bits", "weights, MiB"]
    for text in texts: columns += [f"perplexity, {text}", f"KL, {text}"]
    columns += ["quantize, s", "peak memory, MiB", "tokens/s"]
    own = command_metrics(results)
    columns += [*own, "source"]
    rows = []
    for run in results.done:
        row = [run.model, run.method, run.config, said(run, "bits_per_parameter"), run.bytes and run.bytes / MIB]
        for text in texts: row += [said(run, f"perplexity.{text}"), None if run.is_original else said(run, f"kl.{text}")]
        peak = run.metrics.get("quantize_peak_rss_bytes")
        row += [run.metrics.get("quantize_seconds"), peak and peak / MIB, run.metrics.get("tokens_per_second")]
        row += [*(said(run, name) for name in own), run.source]
        rows.append(row)
    return drop_empty(Table("All results", "Click a heading to sort.", columns, rows))


def paper_table(results):
    """A row a method and config; perplexities and memory of every model beside each other."""
    texts = results.texts()
    columns = ["method", "config", "bits"]
    keys, seen = {}, Counter()
    for model in results.models:
        columns += [f"{model}: {text}" for text in texts] + [f"{model}: GiB"]
    width = len(texts) + 1
    for m, model in enumerate(results.models):
        for run in results.of(model):
            name = "original" if run.is_original else run.method
            # Runs of equal names, by other settings or of other sources, get rows of their own.
            seen[model, name, run.config] += 1
            key = name, run.config, seen[model, name, run.config]
            row = keys.setdefault(key, [name, run.config, run.bits] + [None] * (width * len(results.models)))
            for t, text in enumerate(texts): row[3 + m * width + t] = said(run, f"perplexity.{text}")
            size = run.metrics.get("weight_bytes") or run.bytes
            row[3 + m * width + len(texts)] = size and size / GIB
    rows = sorted(keys.values(), key=lambda row: (-(row[2] or 16), row[0]))
    return drop_empty(Table("Table 2 of the paper, of these runs", "Perplexity on each text, and the weights in memory.", columns, rows))


def command_metrics(results):
    """Names of what the user's own commands measured: NAME.KEY of each, and its seconds."""
    commands = dict.fromkeys(command for run in results.done for command in run.commands)
    names = sorted({name for run in results.done for name in (*run.metrics, *run.infinite)})
    return [name for command in commands for name in names if name.startswith(f"{command}.") or name == f"seconds.{command}"]


def command_output(results):
    """All that the user's own commands printed."""
    found = [(run, command) for run in results.done for command in run.commands]
    texts = [json.dumps(results.document(run, f"command.{command}"), indent=1, ensure_ascii=False) for run, command in found]
    rows = [[run.model, run.method, run.config, command, text] for (run, command), text in zip(found, fold(texts))]
    return Table("What commands printed", "Their JSON, whole. The numbers in it are in the table of all results too.",
                 ["model", "method", "config", "command", "JSON"], rows)


def failures(results):
    failed = [run for run in results.runs if run.state == "failed"]
    rows = [[run.model, run.method, run.config, run.error, log]
            for run, log in zip(failed, fold([results.log(run) for run in failed]))]
    return Table("Failed", "", ["model", "method", "config", "error", "log"], rows)


def drop_empty(table):
    """Without the columns that no row has."""
    kept = [i for i in range(len(table.columns)) if any(row[i] not in (None, "") for row in table.rows)]
    return Table(table.title, table.caption, [table.columns[i] for i in kept], [[row[i] for i in kept] for row in table.rows])
