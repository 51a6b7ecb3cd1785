"""Charts as plotly's JSON, for the page; colours of paper and text are the page's, set there."""
import html
import math

from .chart import brief, extent, log_ticks

GAP = 64  # pixels above a panel


def _number(value): return float(f"{value:.6g}")


def _text(plain):
    """Plotly reads some HTML in texts, and no other line break, and fills in what is in %{}."""
    return html.escape(str(plain), quote=False).replace("%{", "%&#123;").replace("\n", "<br>")


def _texts(plain): return [_text(text) for text in plain]


def _numbers(values): return [_number(v) for v in values] if isinstance(values, list) else _number(values)


def _rgba(color, opacity):
    return f"rgba({int(color[1:3], 16)},{int(color[3:5], 16)},{int(color[5:7], 16)},{opacity})"


def _axis(axis, values=None):
    """Values: what lies on it, from the least to the largest."""
    out = {"title": {"text": _text(axis.title)}, "type": "log" if axis.log else "linear", "automargin": True}
    if axis.range: out["range"] = [math.log10(v) for v in axis.range] if axis.log else list(axis.range)
    ticks = axis.ticks
    if ticks is None and axis.log and (axis.range or values): ticks = log_ticks(*(axis.range or values))
    # Left to itself plotly gives a second axis the first one's places, whose numbers are not round.
    out["tickmode"] = "auto"
    if ticks is not None: out |= {"tickmode": "array", "tickvals": [t[0] for t in ticks], "ticktext": _texts(t[1] for t in ticks)}
    return out


def _traces(mark, x, y, y2, shown):
    kind = type(mark).__name__
    common = {"name": _text(brief(mark.name)), "legendgroup": mark.name, "showlegend": mark.name not in shown, "xaxis": x, "yaxis": y}
    shown.add(mark.name)
    if kind == "Line":
        mode = "+".join(part for part, wanted in (("lines", mark.joined), ("markers", mark.marker)) if wanted)
        trace = common | {"type": "scatter", "mode": mode, "x": _numbers(mark.x), "y": _numbers(mark.y), "meta": mark.color,
                          "line": {"color": mark.color, "width": mark.width, "dash": mark.dash}, "yaxis": y2 if mark.second else y}
        if mark.marker: trace["marker"] = {"color": mark.color, "size": 7 if len(mark.x) <= 60 else 4, "symbol": mark.marker}
        if mark.hover: trace |= {"text": _texts(mark.hover), "hovertemplate": "%{text}<extra></extra>"}
        # A line of the second axis crosses the first one's marks.
        halo = trace | {"mode": "lines", "line": {"width": mark.width + 2}, "meta": "halo", "showlegend": False, "hoverinfo": "skip"}
        for name in ("text", "hovertemplate", "marker"): halo.pop(name, None)
        return [halo, trace] if mark.second else [trace]
    if kind == "Band":
        low, high = _numbers(mark.low), _numbers(mark.high)
        return [common | {"type": "scatter", "mode": "lines", "x": mark.x + mark.x[::-1], "y": high + low[::-1], "fill": "toself",
                          "fillcolor": _rgba(mark.color, mark.opacity), "line": {"width": 0}, "hoverinfo": "skip"}]
    trace = common | {"type": "bar", "x": _numbers(mark.x), "y": _numbers(mark.height), "base": _numbers(mark.base),
                      "width": _numbers(mark.width), "marker": {"color": mark.color, "line": {"width": 0}, "pattern": {"shape": mark.pattern}}}
    if mark.hover: trace |= {"hovertext": _texts(mark.hover), "hovertemplate": "%{hovertext}<extra></extra>"}
    if mark.text: trace |= {"text": _texts(mark.text), "textposition": "inside", "insidetextanchor": "middle", "textangle": 0}
    return [trace]


def draw(chart):
    """{data, layout} as Plotly.newPlot takes them, and where panels stand side by side the layout of them one below the other, "narrow"."""
    data, shown = [], set()
    for i, panel in enumerate(chart.panels):
        for mark in panel.marks: data += _traces(mark, *_names(i), shown)
    drawn = {"data": data, "layout": _layout(chart, min(chart.columns, len(chart.panels)))}
    if chart.columns > 1: drawn["narrow"] = _layout(chart, 1)
    return drawn


def _names(i):
    """Of the axes of a panel: x, y and the second y."""
    number = "" if i == 0 else str(2 * i + 1)
    return "x" + number, "y" + number, f"y{2 * i + 2}"


def _layout(chart, columns):
    rows = (len(chart.panels) + columns - 1) // columns
    height = rows * chart.height
    layout = {"height": height, "barmode": "overlay", "annotations": [], "showlegend": chart.legend}
    for i, panel in enumerate(chart.panels):
        row, column = divmod(i, columns)
        width = 1 / columns
        margin = (0.2 if panel.y2 else 0.12) * width if columns > 1 else 0
        domain_x = [column * width + (margin if column else 0) * 0.8, (column + 1) * width - (margin if column < columns - 1 else 0) * 0.8]
        gap = GAP / height
        domain_y = [1 - (row + 1) / rows + (gap if row < rows - 1 else 0), 1 - row / rows - (0.4 * gap if row else 0)]
        x, y, y2 = _names(i)
        layout["xaxis" + x[1:]] = _axis(panel.x) | {"domain": domain_x, "anchor": y, "showgrid": panel.x.ticks is None}
        layout["yaxis" + y[1:]] = _axis(panel.y, extent(panel)) | {"domain": domain_y, "anchor": x}
        if panel.y2:
            layout["yaxis" + y2[1:]] = _axis(panel.y2, extent(panel, True)) | {"overlaying": y, "side": "right", "anchor": x, "showgrid": False}
        if panel.title:
            layout["annotations"].append({"text": _text(brief(panel.title, 120)), "showarrow": False, "xref": "paper", "yref": "paper", "x": domain_x[0],
                                          "y": domain_y[1], "xanchor": "left", "yanchor": "bottom"})
    return layout
