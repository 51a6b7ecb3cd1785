"""The paper's Figures 6 and 7: which matrix gets which scheme, mixed against uniform."""
import re

from ..chart import Axis, Bars, Chart, Line, Panel
from ..modules import short, split_name
from ..style import SCHEME, scheme_style

MOST = 6
MIB = 2**20


def allocations(results, model, slug):
    """Of some planned runs, evenly by size."""
    planned = sorted((run for run in results.of(model) if not run.is_original and not run.is_uniform), key=lambda run: run.bits)
    if len(planned) > MOST: planned = [planned[round(i * (len(planned) - 1) / (MOST - 1))] for i in range(MOST)]
    charts = []
    for run in planned:
        plan = results.document(run, "quantize")
        if plan: charts += allocation(plan, f"{model}, {run.label}", f"{slug}-{re.sub('[^a-z0-9]+', '-', run.label.lower()).strip('-')}")
    return charts


def allocation(plan, name, slug):
    """A plan as docs/plan.md has it."""
    columns = []
    for matrix, chosen in plan["matrices"].items():
        place = split_name(matrix)
        if place: columns.append((place[1], place[0], chosen["scheme"], chosen["bytes"]))
    if not columns: return []
    modules = list(dict.fromkeys(column[0] for column in columns))
    columns.sort(key=lambda column: (modules.index(column[0]), column[1]))
    panel = _panel([(short(m), layer, scheme, size) for m, layer, scheme, size in columns],
                   f"mixed: {plan['bits_per_parameter']:.4g} bits a weight")
    panels = [panel]
    uniform = plan.get("best_uniform")
    if uniform:
        share = uniform["bytes"] / sum(size for _, _, _, size in columns)
        # Of a uniform plan only the whole is known; each matrix has the same bits a weight, so the same share of its fp16 bytes.
        weights = {(m, layer): size / _bits(scheme) for m, layer, scheme, size in columns}
        whole = sum(weights.values())
        panels.append(_panel([(short(m), layer, uniform["scheme"], uniform["bytes"] * weights[m, layer] / whole)
                              for m, layer, _, _ in columns], f"uniform: {uniform['scheme']}, {share:.1%} of the mixed bytes"))
    return [Chart(f"allocation-{slug}", f"Allocation: {name}", "A column a matrix: module by module, within each from the first layer to "
                  "the last; as high as its bits a weight, coloured by scheme. The line is what it takes.", panels, height=260)]


def _bits(scheme):
    """Code bits and, roughly, what 8-bit scale and zero add: for the height of columns."""
    found = SCHEME.fullmatch(scheme)
    if not found: return 16.0
    return int(found[2]) + (16 if found[1] == "b" else 8) / int(found[3])


def _panel(columns, title):
    schemes = sorted({column[2] for column in columns}, key=lambda scheme: (_bits(scheme), scheme))
    marks = {scheme: Bars(scheme, [], [], width=1.0, hover=[], **scheme_style(scheme)) for scheme in schemes}
    for place, (module, layer, scheme, size) in enumerate(columns):
        bars = marks[scheme]
        bars.x.append(place)
        bars.height.append(_bits(scheme))
        bars.hover.append(f"{module}, layer {layer}\n{scheme}\n{size / MIB:.3g} MiB")
    line = Line("memory", list(range(len(columns))), [size / MIB for *_, size in columns], "#000000",
                [f"{module}, layer {layer}\n{size / MIB:.3g} MiB" for module, layer, _, size in columns], marker="", width=1, second=True)
    ticks, start = [], 0
    for place in range(1, len(columns) + 1):
        if place == len(columns) or columns[place][0] != columns[start][0]:
            ticks.append(((start + place - 1) / 2, columns[start][0]))
            start = place
    return Panel([*marks.values(), line], Axis(ticks=ticks), Axis("bits a weight", range=(0, 9)), title,
                 Axis("MiB", range=(0, 1.6 * max(size for *_, size in columns) / MIB)))
