"""Charts as files, for papers and README pages."""
import io

from .chart import brief, extent, log_ticks

MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "x": "X", "cross": "P", "star": "*"}
DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3))}


def _axis(axis, which, values=None):
    """Which: matplotlib's own axis. Values: what lies on it, from the least to the largest."""
    which.set_label_text(axis.title)
    ticks = axis.ticks
    if ticks is None and axis.log and (axis.range or values): ticks = log_ticks(*(axis.range or values))
    if ticks is not None:
        which.set_ticks([t[0] for t in ticks], [t[1] for t in ticks])
        which.set_ticks([], minor=True)


def _mark(mark, axes, second):
    from matplotlib.patheffects import withStroke

    kind = type(mark).__name__
    if kind == "Line":
        target = second if mark.second else axes
        # A line of the second axis crosses the first one's marks.
        halo = [withStroke(linewidth=mark.width + 2, foreground="white")] if mark.second else None
        return target.plot(mark.x, mark.y, color=mark.color, linewidth=mark.width, linestyle=DASHES[mark.dash] if mark.joined else "none",
                           marker=MARKERS.get(mark.marker), markersize=4.5 if len(mark.x) <= 60 else 2.5, label=mark.name, zorder=3,
                           path_effects=halo)[0]
    if kind == "Band":
        return axes.fill_between(mark.x, mark.low, mark.high, color=mark.color, alpha=mark.opacity, linewidth=0, label=mark.name)
    density = 2 if mark.pattern == "." else 4  # an SVG holds every dot of a tile as a path: at 4 they come to 2 MB
    bars = axes.bar(mark.x, mark.height, mark.width, mark.base, color=mark.color, label=mark.name, zorder=2, hatch=density * mark.pattern,
                    edgecolor="white" if mark.pattern else "none", linewidth=0)
    for text, bar in zip(mark.text or [], bars):
        axes.text(bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height() / 2, text, ha="center", va="center", fontsize=7,
                  color="white" if _dark(mark.color) else "black", zorder=4)
    return bars


def _dark(color): return sum(int(color[i:i + 2], 16) * w for i, w in ((1, 0.3), (3, 0.59), (5, 0.11))) < 140


def draw(chart):
    """A matplotlib figure."""
    from matplotlib.figure import Figure

    columns = min(chart.columns, len(chart.panels))
    rows = (len(chart.panels) + columns - 1) // columns
    figure = Figure(figsize=(9, rows * max(2.4, chart.height / 100)), layout="constrained")
    entries = {}
    for i, panel in enumerate(chart.panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        second = axes.twinx() if panel.y2 else None
        for mark in panel.marks: entries.setdefault(mark.name, _mark(mark, axes, second))
        if panel.x.log: axes.set_xscale("log")
        if panel.y.log: axes.set_yscale("log")
        if panel.x.range: axes.set_xlim(*panel.x.range)
        if panel.y.range: axes.set_ylim(*panel.y.range)
        _axis(panel.x, axes.xaxis)
        _axis(panel.y, axes.yaxis, extent(panel))
        if second:
            if panel.y2.log: second.set_yscale("log")
            if panel.y2.range: second.set_ylim(*panel.y2.range)
            _axis(panel.y2, second.yaxis, extent(panel, True))
        if panel.x.ticks and sum(len(str(label)) for _, label in panel.x.ticks) > 80: axes.tick_params(axis="x", labelrotation=90)
        axes.set_title(brief(panel.title, 120), fontsize=9, loc="left")
        axes.spines[["top"] if second else ["top", "right"]].set_visible(False)
        if second: second.spines["top"].set_visible(False)
        axes.grid(axis="both" if panel.x.ticks is None else "y", color="#000000", alpha=0.1)
        axes.set_axisbelow(True)
    figure.suptitle(brief(chart.title, 120), fontsize=11)
    if chart.legend and len(entries) > 1:
        figure.legend(entries.values(), [brief(name) for name in entries], loc="outside right center" if len(entries) > 8 else "outside lower center",
                      ncols=1 if len(entries) > 8 else min(4, len(entries)), frameon=False, fontsize=8)
    return figure


def drawn(chart, formats):
    """Pairs of a format and the bytes of its file; equal charts give equal files."""
    import matplotlib

    made = []
    # Names are texts, not formulas.
    with matplotlib.rc_context({"svg.hashsalt": "mxq", "svg.fonttype": "path", "font.size": 9, "text.parse_math": False}):
        figure = draw(chart)
        for form in formats:
            metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
            file = io.BytesIO()
            figure.savefig(file, format=form, dpi=150, metadata=metadata)
            made.append((form, file.getvalue()))
    return made
