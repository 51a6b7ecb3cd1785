"""Colours that the colour-blind tell apart, and what else makes a series recognisable."""
import re

# Okabe and Ito's, without the black of axes and texts and the yellow that white paper swallows. Grey is for what methods are measured by.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
GREY = "#7F7F7F"
MARKERS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "x", "cross"]
DASHES = ["solid", "dash", "dot", "dashdot", "longdash"]
PATTERNS = ["", "/", "x", "-", "."]
# Viridis: from few bits (dark) to many (bright), the brightest left out.
SCALE = ["#440154", "#482878", "#3E4A89", "#31688E", "#26828E", "#1F9E89", "#35B779", "#6DCD59", "#B4DE2C"]
WIDTHS = [2, 3, 4, 5, 6, 8]
GROUPS = [256, 128, 64, 32, 16]
SCHEME = re.compile(r"([a-z]+)(\d+)g(\d+)")


# Of the families of schemes; others are hatched like fp: "-".
FAMILIES = {"b": "", "nf": "/", "km": "x", "gauss": "."}


def series_style(index):
    """Colour, marker and dash of the series of this number. Those of one colour have different markers (the first 42) and dashes (the first
    30), so that they differ for who sees no colours too."""
    round, color = divmod(index, len(COLORS))
    return {"color": COLORS[color], "marker": MARKERS[(color + round) % len(MARKERS)], "dash": DASHES[round % len(DASHES)]}


def bar_style(index):
    round, color = divmod(index, len(COLORS))
    return {"color": COLORS[color], "pattern": PATTERNS[round % len(PATTERNS)]}


def _between(share):
    """A colour of the scale, at a place between 0 and 1."""
    place = min(1, max(0, share)) * (len(SCALE) - 1)
    low = min(int(place), len(SCALE) - 2)
    parts = [[int(color[i:i + 2], 16) for i in (1, 3, 5)] for color in SCALE[low:low + 2]]
    return "#" + "".join(f"{round(a + (b - a) * (place - low)):02X}" for a, b in zip(*parts))


def scheme_style(scheme):
    """Bars of a scheme: the more bits the brighter; families differ in their hatches."""
    found = SCHEME.fullmatch(scheme)
    if not found: return {"color": GREY}
    width = sum(int(found[2]) > other for other in WIDTHS)
    group = sum(int(found[3]) < other for other in GROUPS) / len(GROUPS)
    return {"color": _between((width + group) / len(WIDTHS)), "pattern": FAMILIES.get(found[1], "-")}


class Styles:
    """Gives every method of a report the same look in all its charts."""

    def __init__(self, methods): self.index = {method: i for i, method in enumerate(methods)}

    def __getitem__(self, method): return series_style(self.index[method])

    def bars(self, method): return bar_style(self.index[method])
