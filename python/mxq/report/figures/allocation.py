"""The paper's Figures 6 and 7: which matrix gets which scheme, mixed against uniform."""
from dataclasses import dataclass

from ..chart import MIB, Axis, Bars, Chart, Line, Panel, evenly, slug
from ..modules import short, split_name
from ..style import SCHEME, scheme_style

MOST = 6
FLAT = 20  # a matrix that takes so many times what another does would flatten a linear axis


@dataclass
class Column:
    """A matrix."""
    module: str
    layer: int | None  # embeddings have none
    scheme: str
    bytes: float

    @property
    def name(self): return short(self.module) + ("" if self.layer is None else f", layer {self.layer}")


def allocations(results, model, key):
    """Of some planned runs, evenly by size."""
    planned = sorted((run for run in results.of(model) if not run.is_original and not run.is_uniform), key=lambda run: run.bits)
    charts = []
    for run in evenly(planned, MOST):
        plan = results.document(run, "quantize")
        if plan: charts += allocation(plan, f"{model}, {run.label}", slug(key, run.label))
    return charts


def allocation(plan, name, key):
    """A plan as docs/reference/plan.md has it."""
    columns = []
    for matrix, chosen in plan["matrices"].items():
        layer, module = split_name(matrix) or (None, matrix)
        columns.append(Column(module, layer, chosen["scheme"], chosen["bytes"]))
    if not columns: return []
    modules = list(dict.fromkeys(column.module for column in columns))
    columns.sort(key=lambda column: (column.layer is None, modules.index(column.module), column.layer))
    panels = [_panel(columns, f"mixed: {plan['bits_per_parameter']:.4g} bits per parameter")]
    uniform = plan.get("best_uniform")
    if uniform:
        share = uniform["bytes"] / sum(column.bytes for column in columns)
        # Of a uniform plan only the whole is known; each matrix has the same bits per parameter, so the same share of its fp16 bytes.
        weights = [column.bytes / _bits(column.scheme) for column in columns]
        alike = [Column(column.module, column.layer, uniform["scheme"], uniform["bytes"] * weight / sum(weights))
                 for column, weight in zip(columns, weights)]
        panels.append(_panel(alike, f"uniform: {uniform['scheme']}, {share:.1%} of the mixed bytes"))
    return [Chart(f"allocation-{key}", f"Allocation: {name}", "A column a matrix: module by module, within each from the first layer to "
                  "the last; as high as its bits per parameter, coloured by scheme, hatched by family. The line is what it takes.", panels,
                  height=260)]


def _bits(scheme):
    """Code bits and, roughly, what 8-bit scale and zero add: for the height of columns."""
    found = SCHEME.fullmatch(scheme)
    if not found: return 16.0
    return int(found[2]) + (16 if found[1] == "b" else 8) / int(found[3])


def _places(columns):
    """Middle and width of each. What has no layers would be lost between what has: it is as wide as a module."""
    layers = [column.layer for column in columns if column.layer is not None]
    wide = max(1, (max(layers, default=0) + 1) / 2)
    places, end = [], 0
    for column in columns:
        width = wide if column.layer is None else 1
        places.append((end + width / 2, width))
        end += width
    return places


def _ticks(columns, places):
    """A module's name under the middle of its columns."""
    ends = {}
    for column, (middle, width) in zip(columns, places):
        begin, _ = ends.get(column.module, (middle - width / 2, None))
        ends[column.module] = begin, middle + width / 2
    return [((begin + end) / 2, short(module)) for module, (begin, end) in ends.items()]


def _panel(columns, title):
    places = _places(columns)
    schemes = sorted({column.scheme for column in columns}, key=lambda scheme: (_bits(scheme), scheme))
    marks = {scheme: Bars(scheme, [], [], width=[], hover=[], **scheme_style(scheme)) for scheme in schemes}
    for column, (middle, width) in zip(columns, places):
        bars = marks[column.scheme]
        bars.x.append(middle)
        bars.width.append(width)
        bars.height.append(_bits(column.scheme))
        bars.hover.append(f"{column.name}\n{column.scheme}\n{column.bytes / MIB:.3g} MiB")
    sizes = [column.bytes / MIB for column in columns]
    line = Line("memory", [middle for middle, _ in places], sizes, "#000000",
                [f"{column.name}\n{size:.3g} MiB" for column, size in zip(columns, sizes)], marker="", width=1, second=True)
    least, largest = min(sizes), max(sizes)
    memory = Axis("MiB", True, (least / 2, 2 * largest)) if largest > FLAT * least else Axis("MiB", range=(0, 1.6 * largest))
    highest = max(_bits(scheme) for scheme in schemes)
    return Panel([*marks.values(), line], Axis(ticks=_ticks(columns, places)), Axis("bits per parameter", range=(0, max(9, 1.1 * highest))), title,
                 memory)
