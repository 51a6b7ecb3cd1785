"""What a figure shows, whoever draws it: panels of marks on axes. All texts are plain; drawers escape what means more to them."""
import math
import re
from dataclasses import dataclass, field

MIB, GIB = 2**20, 2**30


@dataclass
class Axis:
    title: str = ""
    log: bool = False
    range: tuple | None = None  # in the axis's own numbers, also where it is logarithmic
    ticks: list | None = None  # pairs of place and label; None: as the drawer likes, []: none


@dataclass
class Line:
    """Points, joined by a line or not. Hover: a text for each point, of one or more lines."""
    name: str
    x: list
    y: list
    color: str
    hover: list | None = None
    dash: str = "solid"  # solid, dash, dot, dashdot or longdash
    marker: str = "circle"  # circle, square, diamond, triangle-up, triangle-down, x, cross, star; empty: none
    joined: bool = True
    width: float = 1.6
    second: bool = False  # on the panel's second y axis


@dataclass
class Band:
    """What lies between two curves."""
    name: str
    x: list
    low: list
    high: list
    color: str
    opacity: float = 0.3


@dataclass
class Bars:
    """Rectangles upwards from their bases. Text: written into each."""
    name: str
    x: list  # their middles
    height: list
    color: str
    width: float | list = 0.8
    base: list | float = 0
    hover: list | None = None
    text: list | None = None
    pattern: str = ""  # "", "/", "x", "-" or ".": what tells bars of one colour apart


@dataclass
class Panel:
    marks: list
    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    title: str = ""
    y2: Axis | None = None


@dataclass
class Chart:
    key: str  # of its files: a slug
    title: str
    caption: str
    panels: list
    columns: int = 1
    height: int = 420  # of a row of panels, in pixels
    legend: bool = True


def extent(panel, second=False):
    """The least and the largest positive y of a panel's marks on one of its axes; None without any."""
    values = []
    for mark in panel.marks:
        if getattr(mark, "second", False) != second: continue
        for name in ("y", "low", "high", "height"): values += [v for v in getattr(mark, name, []) if v and v > 0]
    return (min(values), max(values)) if values else None


def log_ticks(low, high):
    """Places and labels of a logarithmic axis: 1, 2 and 5 of each decade, or the decades alone where there are many, or where all lies
    between two of those, its ends."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    digits = (1, 2, 5) if last - first <= 4 else (1,)
    places = [digit * 10.0**decade for decade in range(first, last + 1) for digit in digits]
    places = [place for place in places if low / 1.3 <= place <= high * 1.3]
    if len(places) < 2: places = sorted({float(f"{end:.3g}") for end in (low, high)})
    return [(place, f"{place:g}") for place in places]


def slug(*parts):
    """Lower-case letters, digits and dashes; short enough for the name of a file with more before and behind it."""
    return re.sub("[^a-z0-9]+", "-", " ".join(parts).lower())[:120].strip("-")


def brief(text, most=80):
    """A name as a legend or a title has room for it."""
    text = str(text)
    return text if len(text) <= most else text[:most - 1] + "\u2026"


def evenly(items, most):
    """At most so many of them, the first and the last among those."""
    return items if len(items) <= most else [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
