"""What `mxq report` runs (src/cli/report.cc, docs/reference/report.md)."""
import importlib.util
import json
import pathlib
import re
import signal
import sys
import types
import warnings

from . import draw_matplotlib, foreign, output, page, tables
from .chart import slug
from .checkpoint import first_group
from .figures import allocation, degradation, duration, frontier, memory, packing, weights
from .markdown import markdown
from .runs import ReportError, Results, read_store
from .style import Styles

SECONDS_TO_SEARCH = 2


def options(text):
    """What src/cli/report.cc hands over: JSON; what was not given is empty."""
    chosen = types.SimpleNamespace(**json.loads(text))
    for name in ("store", "output", "foreign", "checkpoint", "markdown", "introduction"):
        value = getattr(chosen, name)
        setattr(chosen, name, pathlib.Path(value) if value else None)
    return chosen


def styles_of(*all_results):
    """Plans come first: theirs are the plainest colours."""
    runs = sorted((run for results in all_results for run in results.done if not run.is_original), key=lambda run: run.is_uniform)
    return Styles(dict.fromkeys(run.method for run in runs))


def charts_of(results, model, styles):
    made, key = [], slug(model)
    for text in results.texts(model):
        both = slug(model, text)
        made += frontier.frontier(results, model, text, styles, both)
        made += frontier.methods(results, model, text, styles, both)
        made += degradation.degradation(results, model, text, styles, both)
    made += memory.memory(results, model, styles, key)
    made += duration.duration(results, model, styles, key)
    made += weights.weights(weights.from_inspection(results, model), model, key)
    made += allocation.allocations(results, model, key)
    return made


def own_sections(ours, chosen, styles):
    found = [(model, charts_of(ours, model, styles)) for model in ours.models]
    if ours.done: found.append(("Tables", [tables.paper_table(ours), tables.all_runs(ours)]))
    printed = tables.command_output(ours)
    if printed.rows: found.append(("Commands", [printed]))
    failed = tables.failures(ours)
    if failed.rows: found.append(("Failed", [failed]))
    group = chosen.checkpoint and first_group(chosen.checkpoint)
    if group: found.append(("Packing", packing.packing(group, slug(group.scheme))))
    return found


def foreign_sections(theirs, chosen, styles):
    found = [(f"The authors' results: {model}", charts_of(theirs, model, styles)) for model in theirs.models]
    for model, rows in foreign.read_weights(chosen.foreign).items():
        found.append((f"Their weights: {model}", weights.weights(rows, model, "authors-" + slug(model))))
    for model, plan in foreign.solve(chosen.foreign, chosen.program).items():
        found.append((f"Their errors, planned by mxq: {model}", allocation.allocation(plan, model, "authors-" + slug(model))))
    return found + [("Their results", [tables.all_runs(theirs)])]


def sections(chosen):
    """Our results, what the page shows, and one line that sums it up."""
    ours = read_store(chosen.store) if chosen.store else Results([])
    theirs = foreign.read_results(chosen.foreign, chosen.program) if chosen.foreign else Results([])
    styles = styles_of(ours, theirs)
    found = own_sections(ours, chosen, styles)
    if chosen.foreign: found += foreign_sections(theirs, chosen, styles)
    done, failed = len(ours.done) + len(theirs.done), sum(run.state == "failed" for run in ours.runs)
    summary = f"{done} results of {len({*ours.models, *theirs.models})} models"
    return ours, found, summary + (f"; {failed} runs failed" if failed else "")


def make_keys_unique(found):
    """Names that differ in what keys leave out get numbers."""
    used = set()
    for _, parts in found:
        for chart in parts:
            if not hasattr(chart, "panels"): continue
            key, number = chart.key, 1
            while chart.key in used: chart.key, number = f"{key}-{number + 1}", number + 1
            used.add(chart.key)


def figures_of(found, only):
    """The charts whose keys the expression finds, or an error where it does not end: Python's expressions know no other limit."""
    def stop(*_): raise ReportError(f"--only: the regular expression '{only}' takes too long; expected a simpler one")
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_SEARCH)
    try:
        return [chart for _, parts in found for chart in parts if hasattr(chart, "panels") and re.search(only, chart.key)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_outputs(chosen):
    inputs = [(name, getattr(chosen, name)) for name in ("store", "checkpoint", "introduction")]
    output.require_apart(chosen.output, inputs)
    if chosen.markdown:
        output.require_apart(chosen.markdown, inputs)
        output.require_others(chosen.markdown, [chosen.output, chosen.output / "index.html"])
        output.require_own_markdown(chosen.markdown)


def check_packages(chosen):
    """Before any work."""
    missing = [name for name in ("plotly", "matplotlib") if importlib.util.find_spec(name) is None and (name == "plotly" or chosen.formats)]
    if missing:
        raise ReportError(f"report: the Python package {' and '.join(missing)} is missing; pip install plotly matplotlib, or name an "
                          f"interpreter that has both in MXQ_PYTHON (this one is {sys.executable})")


def main(chosen):
    check_packages(chosen)
    check_outputs(chosen)
    results, found, summary = sections(chosen)
    if not found: raise ReportError(f"report {chosen.store}: nothing is done yet")
    make_keys_unique(found)
    figures = figures_of(found, chosen.only) if chosen.formats else []
    text = page.page(chosen.title, summary, found)
    folder = output.Folder(chosen.output, ["index.html", *(f"figures/{chart.key}.{form}" for chart in figures for form in chosen.formats)])
    folder.write("index.html", text.encode())
    for chart in figures:
        for form, data in draw_matplotlib.drawn(chart, chosen.formats): folder.write(f"figures/{chart.key}.{form}", data)
    folder.finish()
    if chosen.markdown:
        introduction = chosen.introduction.read_text(encoding="utf-8") if chosen.introduction else "# Results"
        output.write_whole(chosen.markdown, (markdown(results, introduction) + output.MARKDOWN_END).encode())
    try:
        print(one_line(f"{summary}: {chosen.output / 'index.html'}, {len(text.encode()) / 2**20:.1f} MiB"), flush=True)
    except OSError as e:
        sys.stdout = None  # or Python tries again, and ends with a status of its own
        raise ReportError(f"write standard output: {e.strerror}") from e


def one_line(message):
    return "".join(c if c.isprintable() else "?" for c in str(message))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # matplotlib's, of fonts and layouts
    try:
        main(options(sys.argv[1]))
    except ImportError as e:
        sys.exit(f"mxq: error: report: the Python package {e.name} is missing; pip install plotly matplotlib")
    except (ReportError, OSError, re.error) as e:
        sys.exit(f"mxq: error: {one_line(e)}")
    except KeyboardInterrupt:
        sys.exit(130)
    except MemoryError:
        sys.exit("mxq: error: report: out of memory")
    except Exception as e:  # rows of the store that no mxq writes: what of them is wrong shows where it is drawn
        sys.exit(f"mxq: error: report: the results are damaged: {one_line(f'{type(e).__name__}: {e}')}")
