"""The paper's Figure 2: how the weights of each kind of matrix are distributed, layer by layer."""
from ..chart import Axis, Band, Chart, Line, Panel
from ..modules import split_name

BANDS = [("0", "99", "#56B4E9", 0.45), ("99", "99.9", "#0072B2", 0.45), ("99.9", "99.99", "#E69F00", 0.55),
         ("99.99", "100", "#D55E00", 0.45)]


def from_inspection(results, model):
    """Rows of module, layer, percentiles and kurtosis, of what `mxq inspect` said of the original; none without it."""
    original = results.original(model)
    inspected = original and results.document(original, "inspect")
    if not inspected: return []
    rows = []
    for matrix in inspected["matrices"]:
        place = split_name(matrix["name"])
        if place: rows.append((place[1], place[0], matrix["percentiles"], matrix["kurtosis"]))
    return rows


def weights(rows, model, slug):
    modules = {}
    for module, layer, percentiles, kurtosis in rows: modules.setdefault(module, []).append((layer, percentiles, kurtosis))
    panels = []
    for module, found in modules.items():
        found.sort(key=lambda row: row[0])
        layers = [row[0] for row in found]
        marks = []
        for low, high, color, opacity in BANDS:
            lows = [row[1][low] for row in found] if low != "0" else [0] * len(found)
            marks.append(Band(f"{low} to {high} %", layers, lows, [row[1][high] for row in found], color, opacity))
        curve = [row[2] for row in found]
        marks.append(Line("kurtosis", layers, curve, "#000000", [f"{module}, layer {layer}\nkurtosis {row[2]:.3g}"
                          for layer, row in zip(layers, found)], marker="circle", second=True))
        panels.append(Panel(marks, Axis("layer"), Axis("|w|"), module, Axis("kurtosis", log=max(curve) > 30 * min(curve))))
    if not panels: return []
    return [Chart(f"weights-{slug}", f"Distribution of the weights: {model}", "Percentiles of the magnitudes in each layer, and their kurtosis (right axes): "
                  "what sticks out is what is lost.", panels, columns=2, height=270)]
