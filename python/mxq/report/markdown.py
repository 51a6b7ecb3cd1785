"""Results as a Markdown page: a table for each bit width and group size, every method a row."""
import re

from .chart import MIB

NEAR = 0.002
SHAPE = re.compile(r"[a-z]+(\d+)g(\d+)")


def sections(runs):
    """Uniform runs by (bits, group). A run of a budget is where a uniform run takes as much, within NEAR bits per parameter; the others are under
    None."""
    found, budgets = {}, []
    for run in runs:
        shape = SHAPE.fullmatch(run.config)
        if shape: found.setdefault((int(shape[1]), int(shape[2])), []).append(run)
        elif not run.is_original: budgets.append(run)
    uniform = {shape: list(of) for shape, of in found.items()}
    for run in budgets:
        near = [(abs(other.bits - run.bits), shape) for shape, of in uniform.items() for other in of if abs(other.bits - run.bits) < NEAR]
        found.setdefault(min(near)[1] if near else None, []).append(run)
    return found


def _cell(value, form): return "" if value is None else format(value, form)


def _escaped(text):
    """Any text as the cell of a Markdown table, drawn as it is: no column, line, code or tag of its own."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


def _code(text):
    """The same as code, which knows no escapes: what would end it is written otherwise."""
    plain = not re.search(r"[`|\\]", text) and text.isprintable()
    return f"`{text}`" if plain and text else _escaped(text)


def table(runs, text):
    lines = ["| method | scheme or bits | perplexity | KL | bits per parameter | MiB | seconds | peak MiB |", "|---|---|---|---|---|---|---|---|"]
    for run in runs:
        matrices, peak = run.metrics.get("matrix_bytes"), run.metrics.get("quantize_peak_rss_bytes")
        lines.append(f"| {_escaped(run.method)} | {_code(run.config)} | {_cell(run.perplexity(text), '.2f')} | {_cell(run.kl(text), '.4f')} | "
                     f"{_cell(run.bits, '.3f')} | {_cell(matrices and matrices / MIB, '.1f')} | "
                     f"{_cell(run.metrics.get('quantize_seconds'), '.1f')} | {_cell(peak and peak / MIB, '.0f')} |")
    return lines


def markdown(results, introduction):
    """The introduction is put before; {original} in it becomes the original's perplexity."""
    out = []
    for model in results.models:
        for text in results.texts(model):
            original = results.original(model)
            base = original and original.perplexity(text)
            out.append(introduction.replace("{original}", _cell(base, ".2f")).rstrip() if not out else f"\n# {_escaped(model)}, {_escaped(text)}")
            found = sections(results.of(model))
            others = found.pop(None, [])
            for shape, runs in sorted(found.items(), key=lambda item: (-item[0][0], item[0][1])):
                out += ["", f"## {shape[0]} bits, groups of {shape[1]}", "", *table(runs, text)]
            if others: out += ["", "## Other budgets", "", *table(sorted(others, key=lambda run: run.bits), text)]
    return "\n".join(out) + "\n"
